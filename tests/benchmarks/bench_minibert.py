"""Speed of one training step, ours against `transformers`:  python -m tests.benchmarks.bench_minibert

A step is the forward pass, the MLM and the NSP loss, the backward pass, AdamW and zero_grad. Both sides have the same
sizes, weights, batch, losses, optimizer and threads, dropout off; they take turns in one process, and the best time of
each counts. Where the median of the ratios within a round says otherwise, other work on the machine favoured one side.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from common.command import command
from minibert import BertConfig, BertForPreTraining
from minibert.objective import pretraining_loss

CONFIG = BertConfig(vocab_size=8_192, d_model=256, n_layers=4, n_heads=4, d_ff=1_024, max_len=128, dropout=0.0)
BATCH, LENGTH, MASK_RATE = 16, 128, 0.15


def make_batch() -> dict[str, Tensor]:
    """What minibert.objective hands to the loss; every fourth row is some tokens shorter, as there."""
    ids = torch.randint(7, CONFIG.vocab_size, (BATCH, LENGTH))
    mask = torch.arange(LENGTH) < torch.where(torch.arange(BATCH) % 4 == 0, LENGTH - 5, LENGTH)[:, None]
    selected = mask & (torch.rand(BATCH, LENGTH) < MASK_RATE)
    segments = (torch.arange(LENGTH) >= LENGTH // 2) & mask
    return {"ids": ids.masked_fill(~mask, 0), "segments": segments.long(), "mask": mask, "selected": selected,
            "answers": ids, "is_random": torch.arange(BATCH) % 2}


def our_loss(model: BertForPreTraining, batch: dict[str, Tensor]) -> Tensor:
    return sum(total / count for total, count in pretraining_loss(model, batch).values())


def their_loss(model, batch: dict[str, Tensor]) -> Tensor:
    """As its documentation has it: labels of -100 where nothing is asked."""
    labels = batch["answers"].masked_fill(~batch["selected"], -100)
    return model(batch["ids"], attention_mask=batch["mask"].long(), token_type_ids=batch["segments"], labels=labels,
                 next_sentence_label=batch["is_random"]).loss


def their_loss_by_parts(model, batch: dict[str, Tensor]) -> Tensor:
    """The best that one can make of its parts: called one by one, with the head on the selected tokens alone."""
    out = model.bert(batch["ids"], attention_mask=batch["mask"], token_type_ids=batch["segments"])
    logits = model.cls.predictions(out.last_hidden_state[batch["selected"]])
    nsp = model.cls.seq_relationship(out.pooler_output)
    return F.cross_entropy(logits, batch["answers"][batch["selected"]]) + F.cross_entropy(nsp, batch["is_random"])


def make_step(model: torch.nn.Module, loss_fn: Callable, batch: dict[str, Tensor]) -> Callable[[], float]:
    """A function that takes one training step and returns the loss before it."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> float:
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step


def contestants(batch: dict[str, Tensor]) -> dict[str, Callable[[], float]]:
    """A step of ours, of theirs, and of theirs by parts, from the same weights."""
    import transformers
    transformers.utils.logging.disable_progress_bar()

    ours = BertForPreTraining(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs, theirs_by_parts = (transformers.BertForPreTraining.from_pretrained(
            folder, attn_implementation="sdpa") for _ in range(2))
    return {"minibert": make_step(ours, our_loss, batch),
            "transformers": make_step(theirs, their_loss, batch),
            "transformers, by parts": make_step(theirs_by_parts, their_loss_by_parts, batch)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="turns that each side takes; the best one counts")
    parser.add_argument("--steps", type=int, default=3, help="training steps in one turn")
    args = parser.parse_args(argv)

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    steps = contestants(make_batch())
    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}  # warms up as well
    for name, values in losses.items():
        if not torch.allclose(torch.tensor(values), torch.tensor(losses["minibert"]), atol=1e-3):
            raise SystemExit(f"not the same training: losses {values} of {name}, {losses['minibert']} of minibert")

    times = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(args.steps):
                step()
            times[name].append((time.perf_counter() - start) / args.steps)

    print(f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"{CONFIG.n_layers} x {CONFIG.d_model}, V {CONFIG.vocab_size}, batch {BATCH} x {LENGTH}, float32")
    for name, seconds in times.items():
        best = min(seconds) / min(times["minibert"])
        typical = statistics.median(t / ours for t, ours in zip(seconds, times["minibert"], strict=True))
        print(f"{name:24}{BATCH * LENGTH / min(seconds):8,.0f} tokens/s   {1000 * min(seconds):7.1f} ms a step   "
              f"minibert is {best:.2f} times as fast; median of the rounds {typical:.2f}")
    print(f"Why: minibert runs the projection to the vocabulary, and the last feed-forward network, only for the "
          f"{MASK_RATE:.0%} of the tokens that the loss reads; the last row has the first of the two, done by hand.")


if __name__ == "__main__":
    main()
