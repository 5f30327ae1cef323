"""Speed of T5, ours against `transformers`, training and writing:  python -m tests.benchmarks.bench_minit5

Training: a step is the forward pass of both sides, the loss of every target token, the backward pass, AdamW and
zero_grad. Writing: 128 tokens to inputs of 128, greedy, encoder included, with the KV-cache on both sides; both must
write the same tokens. A third row times the matrix products of these steps with nothing around them: the ceiling of any
implementation. Both sides have the same sizes, weights, batch, optimizer and threads, dropout off; see
tests/benchmarks/race.py.
"""

import tempfile

import torch
import torch.nn.functional as F
from torch import Tensor

from common.command import command
from common.generate import generate
from minit5 import T5, T5Config
from minit5.objective import target_loss
from minit5.writer import Writer
from tests.benchmarks.race import check_same_training, machine, race, train_and_write, train_step

CONFIG = T5Config(vocab_size=8_192, d_model=256, d_ff=1_024, n_layers=4, n_heads=4, dropout=0.0)
BATCH, INPUT, TARGET = 16, 128, 32
NEW = 128


def our_loss(model: T5, batch: dict[str, Tensor]) -> Tensor:
    [(total, count)] = target_loss(model, batch).values()
    return total / count


def their_loss(model, batch: dict[str, Tensor]) -> Tensor:
    return model(input_ids=batch["ids"], decoder_input_ids=batch["decoder_ids"], labels=batch["answers"]).loss


def pair() -> tuple[T5, torch.nn.Module]:
    """Ours and theirs, with the same weights."""
    import transformers
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    ours = T5(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        return ours, transformers.T5ForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa")


def training(rounds: int, repeats: int) -> None:
    ids, answers = (torch.randint(2, CONFIG.vocab_size, (BATCH, length)) for length in (INPUT, TARGET))
    batch = {"ids": ids, "answers": answers, "decoder_ids": F.pad(answers[:, :-1], (1, 0), value=CONFIG.start_id)}
    ours, theirs = pair()
    steps = {"minit5": train_step(ours, our_loss, batch), "transformers": train_step(theirs, their_loss, batch)}
    check_same_training(steps)
    print(f"{machine()}; training step, {CONFIG.n_layers} + {CONFIG.n_layers} x {CONFIG.d_model}, "
          f"V {CONFIG.vocab_size}, batch {BATCH}, {INPUT} in, {TARGET} out, float32")
    race(steps, rounds, repeats, tokens=BATCH * (INPUT + TARGET))


def writing(rounds: int, n_inputs: int) -> None:
    ours, theirs = (model.eval() for model in pair())
    theirs.generation_config.eos_token_id = None  # all write to the end
    inputs = torch.randint(2, CONFIG.vocab_size, (n_inputs, INPUT))

    def we() -> list[list[int]]:
        return generate(Writer(ours, inputs.tolist()), [[CONFIG.start_id]] * n_inputs, NEW)

    def they() -> list[list[int]]:
        out = theirs.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=NEW, do_sample=False)
        return out[:, 1:].tolist()

    def matrices(module: torch.nn.Module) -> list[Tensor]:
        return [p for p in module.parameters() if p.ndim == 2]

    # keys and values of the memory are worked out once, with the encoder
    crossed = [(c.weight[: c.parts[0]], c.weight[c.parts[0] :]) for c in
               (block.cross_attention.qkv for block in ours.decoder.blocks)]
    others = [p for name, p in ours.decoder.named_parameters() if p.ndim == 2 and "cross_attention.qkv" not in name]
    encoder = matrices(ours.encoder) + [keys_values for _, keys_values in crossed]
    decoder = others + [queries for queries, _ in crossed] + [ours.head.weight]
    widths = {weight.shape[1] for weight in encoder + decoder}
    read = {width: torch.randn(n_inputs * INPUT, width) for width in widths}
    written = {width: torch.randn(n_inputs, width) for width in widths}

    @torch.inference_mode()
    def products() -> None:  # what no implementation in float32 can do without
        for weight in encoder:
            F.linear(read[weight.shape[1]], weight)
        for _ in range(NEW):
            for weight in decoder:
                F.linear(written[weight.shape[1]], weight)

    if we() != they():
        raise SystemExit("not the same text")
    print(f"{machine()}; {NEW} new tokens, greedy, {n_inputs} input{'s' * (n_inputs > 1)} of {INPUT}")
    sides = {"minit5": we, "transformers": they, "the products alone": products}
    race(sides, rounds, repeats=1, tokens=n_inputs * NEW)


@command
def main(argv: list[str] | None = None) -> None:
    train_and_write(argv, __doc__.splitlines()[0], training, writing)


if __name__ == "__main__":
    main()
