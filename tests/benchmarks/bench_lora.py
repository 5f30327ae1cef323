"""Speed of a training step with LoRA, ours against `peft`:  python -m tests.benchmarks.bench_lora

First on the same model, a GPT-2 of `transformers`, which each of the two wraps; then our GPT with our LoRA against
theirs with `peft`. The same base, A, B, batch, optimizer and threads, dropout off: the losses must be the same. Beside
them the same model with every weight trained. See tests/benchmarks/race.py.
"""

import argparse
import warnings

import torch
import torch.nn as nn

from common.command import command
from lora import add_lora, trainable_parameters
from lora.lora import loras
from lora.wrapping import trainable_line
from tests.benchmarks import bench_minigpt
from tests.benchmarks.bench_minigpt import BATCH, LENGTH, our_loss, pair, their_loss
from tests.benchmarks.race import check_same_training, machine, race, train_step

R, ALPHA = 8, 16


def with_peft(model: nn.Module) -> nn.Module:
    import peft
    config = peft.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["c_attn"], fan_in_fan_out=True)
    return peft.get_peft_model(model, config)


def with_ours(model: nn.Module, target: str, like: nn.Module) -> nn.Module:
    """Our LoRA on each block's stacked Q, K and V, with the A that `peft` has drawn."""
    add_lora(model, [target], R, ALPHA)
    theirs = [p for name, p in like.named_parameters() if "lora_A" in name]
    with torch.no_grad():
        for layer, A in zip(loras(model).values(), theirs, strict=True):
            layer.pairs["all"].A.copy_(A)
    return model


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="turns that each side takes; the best one counts")
    parser.add_argument("--steps", type=int, default=3, help="training steps in one turn")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    config = bench_minigpt.CONFIG
    ids = torch.randint(1, config.vocab_size, (BATCH, LENGTH + 1))
    batch = {"ids": ids[:, :-1].contiguous(), "answers": ids[:, 1:].contiguous()}

    ours, theirs = pair()
    state = theirs.state_dict()

    def another() -> nn.Module:
        made = type(theirs)(theirs.config)
        made.load_state_dict(state)
        return made
    with_their_lora = with_peft(another())
    sides = {"our LoRA, their GPT-2": (with_ours(another(), "c_attn", with_their_lora), their_loss),
             "peft, their GPT-2": (with_their_lora, their_loss),
             "our LoRA, our GPT": (with_ours(ours, "qkv", with_their_lora), our_loss)}
    for name, (model, _) in sides.items():
        print(f"{name:24}{trainable_line(model)} in {len(trainable_parameters(model))} tensors")
    steps = {name: train_step(model, loss, batch) for name, (model, loss) in sides.items()}
    check_same_training(steps)
    steps["all of their GPT-2"] = train_step(another(), their_loss, batch)
    print(f"{machine()}; training step, {config.n_layers} x {config.d_model}, V {config.vocab_size}, "
          f"batch {BATCH} x {LENGTH}, LoRA r = {R} on Q, K and V as one matrix, float32")
    race(steps, args.rounds, args.steps, tokens=BATCH * LENGTH)


if __name__ == "__main__":
    main()
