"""Speed of one training step, ours against `transformers`:  python -m tests.benchmarks.bench_minibert

A step is the forward pass, the MLM and the NSP loss, the backward pass, AdamW and zero_grad. Both sides have the same
sizes, weights, batch, losses, optimizer and threads, dropout off; see tests/benchmarks/race.py.
"""

import argparse
import tempfile
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from common.command import command
from minibert import BertConfig, BertForPreTraining
from minibert.objective import pretraining_loss
from tests.benchmarks.race import check_same_training, machine, race, train_step

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


def contestants(batch: dict[str, Tensor]) -> dict[str, Callable[[], float]]:
    """A step of ours, of theirs, and of theirs by parts, from the same weights."""
    import transformers
    transformers.utils.logging.disable_progress_bar()

    ours = BertForPreTraining(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs, theirs_by_parts = (transformers.BertForPreTraining.from_pretrained(
            folder, attn_implementation="sdpa") for _ in range(2))
    return {"minibert": train_step(ours, our_loss, batch),
            "transformers": train_step(theirs, their_loss, batch),
            "transformers, by parts": train_step(theirs_by_parts, their_loss_by_parts, batch)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="turns that each side takes; the best one counts")
    parser.add_argument("--steps", type=int, default=3, help="training steps in one turn")
    args = parser.parse_args(argv)

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    steps = contestants(make_batch())
    check_same_training(steps)
    print(f"{machine()}; training step, {CONFIG.n_layers} x {CONFIG.d_model}, V {CONFIG.vocab_size}, "
          f"batch {BATCH} x {LENGTH}, float32")
    race(steps, args.rounds, args.steps, tokens=BATCH * LENGTH)
    print(f"Why: minibert runs the projection to the vocabulary, and the last feed-forward network, only for the "
          f"{MASK_RATE:.0%} of the tokens that the loss reads; the last row has the first of the two, done by hand.")


if __name__ == "__main__":
    main()
