"""The tasks that a BERT is fine-tuned to: where the sentences come from, which head they take, how it is scored.

A head's module (classifying.py, tagging.py, answering.py) has `Model`, `labels_of`, `rows_of`, `answers`, `scores` and
`shown`, the same names for all three; so the command (finetune.py) knows none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from common import world
from common.batches import random_state
from common.command import UserError
from common.labelled import read_answered, read_classified, read_tagged
from minibert import answering, classifying, tagging
from minibert.heads import BertWithHead
from minibert.rows import IGNORED, Row, in_order

HEADS = {"classify": classifying, "tag": tagging, "answer": answering}
READERS = {"classify": read_classified, "tag": read_tagged, "answer": read_answered}
WORLD = {"sentiment": "classify", "next-sentence": "classify", "entities": "tag", "questions": "answer"}
N_WORLD, N_WORLD_DEV = 2_000, 1_000  # labelled sentences of the world


@dataclass(frozen=True)
class Task:
    """What to learn from, what is held out, and the module of the head."""

    head: ModuleType
    train: list
    dev: list


def load_task(name: str, train: str | None, dev: str | None, labelled: int | None, seed: int) -> Task:
    """A task of the world, or one of HEADS with own files.

    dev: None holds out one in ten of `train`, chosen by chance with a seed of its own. labelled: so many examples of
    `train`, chosen by the seed. UserError for an unknown task, files where none belong or none where one is needed, and
    fewer examples than wanted.
    """
    if name in WORLD:
        if train or dev:
            raise UserError(f"{name} is a task of the small world and needs no file; own files go with --task "
                            f"{' or '.join(HEADS)}")
        learned = world.examples(name, labelled or N_WORLD, seed)
        return Task(HEADS[WORLD[name]], learned, world.examples(name, N_WORLD_DEV, held_out=True))
    if name not in HEADS:
        raise UserError(f"unknown task {name!r}; of the small world there are {', '.join(WORLD)}, for own files "
                        f"{', '.join(HEADS)}")
    if train is None:
        raise UserError(f"--task {name} needs a file to learn from: --train FILE")
    learned = READERS[name](Path(train))
    if dev is not None:
        held_out = READERS[name](Path(dev))
    else:
        order = random_state(0, len(learned)).permutation(len(learned))
        n = max(1, len(learned) // 10)
        held_out = [learned[i] for i in sorted(order[:n])]
        learned = [learned[i] for i in sorted(order[n:])]
    if not learned or not held_out:
        raise UserError(f"{train} holds too few examples: {len(learned)} to learn from, {len(held_out)} held out")
    if labelled is not None:
        if labelled > len(learned):
            raise UserError(f"--labelled {labelled}: there are {len(learned)} examples to learn from")
        learned = [learned[i] for i in random_state(seed).permutation(len(learned))[:labelled]]
    return Task(HEADS[name], learned, held_out)


def task_loss(model: BertWithHead, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """Cross-entropy of the targets, in nats: {"loss": (sum, count)}; the trainer divides."""
    return loss_of(model(batch["ids"], batch["segments"], batch["mask"]), batch)


def loss_of(logits: Tensor, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """The loss of logits (B, L), (B, T, L) or, for spans, (B, T, 2), whose targets are two places a row.

    A label and a tag are chosen among L labels, begin and end of an answer among the places of the row (section 4.2).
    """
    targets = batch["targets"]
    if logits.ndim == 3 and logits.shape[:2] != targets.shape:  # (B, T, 2) -> (B, 2, T): padding is no place
        logits = logits.masked_fill(~batch["mask"].unsqueeze(-1), -torch.inf).mT
    logits = logits.flatten(0, -2)  # (number of targets, choices)
    return {"loss": (F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum"),
                     int((targets != IGNORED).sum()))}


@torch.no_grad()
def predict(model: BertWithHead, head: ModuleType, rows: Sequence[Row], examples: Sequence,
            pad_id: int) -> tuple[list, float]:
    """The answer to each example, and the loss, nats a target. Expects `model.eval()`."""
    device = next(model.parameters()).device
    logits: list[Tensor | None] = [None] * len(rows)
    total = count = 0
    for numbers, batch in in_order(rows, pad_id):
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        scores = model(batch["ids"], batch["segments"], batch["mask"])
        loss, n = loss_of(scores, batch)["loss"]
        total, count = total + loss.item(), count + n
        for number, of_row in zip(numbers, scores):
            logits[number] = of_row
    return head.answers(model, logits, rows, examples), total / max(1, count)
