"""Speed of GPT-2, ours against `transformers`, training and writing:  python -m tests.benchmarks.bench_minigpt

Training: a step is the forward pass, the loss of every token, the backward pass, AdamW and zero_grad. Writing: 128
tokens from a prompt of 16, greedy, with the KV-cache on both sides; both must write the same tokens. A third row times
the matrix products of these steps with nothing around them: the ceiling of any implementation. Both sides have
the same sizes, weights, batch, optimizer and threads, dropout off; see tests/benchmarks/race.py.
"""

import tempfile

import torch
import torch.nn.functional as F
from torch import Tensor

from common.command import command
from common.generate import generate
from minigpt import GPT, GPTConfig
from minigpt.objective import next_token_loss
from tests.benchmarks.race import check_same_training, machine, race, train_and_write, train_step

CONFIG = GPTConfig(vocab_size=8_192, d_model=256, n_layers=4, n_heads=4, max_len=256, dropout=0.0, eos_id=0)
BATCH, LENGTH = 16, 128
PROMPT, NEW = 16, 128


def our_loss(model: GPT, batch: dict[str, Tensor]) -> Tensor:
    [(total, count)] = next_token_loss(model, batch).values()
    return total / count


def their_loss(model, batch: dict[str, Tensor]) -> Tensor:
    """Its own loss on the same answers, which `shift_labels` says are shifted already."""
    return model(batch["ids"], labels=batch["answers"], shift_labels=batch["answers"]).loss


def pair() -> tuple[GPT, torch.nn.Module]:
    """Ours and theirs, with the same weights."""
    import transformers
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    ours = GPT(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        return ours, transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa")


def training(rounds: int, repeats: int) -> None:
    ids = torch.randint(1, CONFIG.vocab_size, (BATCH, LENGTH + 1))
    batch = {"ids": ids[:, :-1].contiguous(), "answers": ids[:, 1:].contiguous()}
    ours, theirs = pair()
    steps = {"minigpt": train_step(ours, our_loss, batch), "transformers": train_step(theirs, their_loss, batch)}
    check_same_training(steps)
    print(f"{machine()}; training step, {CONFIG.n_layers} x {CONFIG.d_model}, V {CONFIG.vocab_size}, "
          f"batch {BATCH} x {LENGTH}, float32")
    race(steps, rounds, repeats, tokens=BATCH * LENGTH)


def writing(rounds: int, n_prompts: int) -> None:
    ours, theirs = (model.eval() for model in pair())
    theirs.generation_config.eos_token_id = None  # all write to the end
    theirs.generation_config.pad_token_id = 0
    prompts = torch.randint(1, CONFIG.vocab_size, (n_prompts, PROMPT))

    def we() -> list[list[int]]:
        return generate(ours, prompts.tolist(), NEW)

    def they() -> list[list[int]]:
        out = theirs.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=NEW, do_sample=False)
        return out[:, PROMPT:].tolist()

    weights = [p for name, p in ours.named_parameters() if p.ndim == 2 and name != "position.weight"]
    states = {weight.shape[1]: torch.randn(n_prompts, weight.shape[1]) for weight in weights}

    @torch.inference_mode()
    def products() -> None:  # what no implementation in float32 can do without
        for _ in range(NEW):
            for weight in weights:
                F.linear(states[weight.shape[1]], weight)

    if we() != they():
        raise SystemExit("not the same text")
    print(f"{machine()}; {NEW} new tokens, greedy, {n_prompts} prompt{'s' * (n_prompts > 1)} of {PROMPT}")
    sides = {"minigpt": we, "transformers": they, "the products alone": products}
    race(sides, rounds, repeats=1, tokens=n_prompts * NEW)


@command
def main(argv: list[str] | None = None) -> None:
    train_and_write(argv, __doc__.splitlines()[0], training, writing)


if __name__ == "__main__":
    main()
