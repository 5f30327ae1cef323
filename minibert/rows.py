"""Rows of tokens for a fine-tuned BERT: [CLS] A [SEP], or [CLS] A [SEP] B [SEP], and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.batches import random_state
from common.tokenizer import Tokenizer
from common.wordpiece import WordPiece

Vocabulary = Tokenizer | WordPiece
IGNORED = -100  # a target that counts nothing: that of a special token, of a word's second piece, of padding


@dataclass(frozen=True)
class Row:
    """One input, and what is to be answered: one number (a label), one a token (tags), or two (begin and end)."""

    ids: list[int]
    segments: list[int]
    targets: list[int]


def frame(vocabulary: Vocabulary, first: list[int], second: list[int] | None = None) -> tuple[list[int], list[int]]:
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], and the segments, 0 up to the first [SEP], 1 behind it."""
    ids = [vocabulary.cls_id, *first, vocabulary.sep_id]
    segments = [0] * len(ids)
    if second is not None:
        ids, segments = [*ids, *second, vocabulary.sep_id], segments + [1] * (len(second) + 1)
    return ids, segments


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """ids, segments, mask (B, T), padded on the right to the longest row, and targets (B, the most of a row)."""
    longest, most = max(len(row.ids) for row in rows), max(len(row.targets) for row in rows)

    def padded(values: list[int], length: int, padding: int) -> list[int]:
        return values + [padding] * (length - len(values))

    lengths = torch.tensor([len(row.ids) for row in rows])
    return {"ids": torch.tensor([padded(row.ids, longest, pad_id) for row in rows]),
            "segments": torch.tensor([padded(row.segments, longest, 0) for row in rows]),
            "mask": torch.arange(longest) < lengths.unsqueeze(1),
            "targets": torch.tensor([padded(row.targets, most, IGNORED) for row in rows])}


class Shuffled:
    """Batches of rows: batches(t) is the t-th one, a pure function of the seed and t; each epoch reads every row once.

    Rows of about the same length come together, so that little is padding: shuffled, sorted by length within stretches
    of SORTED batches, and the batches shuffled. The last one of an epoch may be smaller.
    """

    SORTED = 16

    def __init__(self, rows: Sequence[Row], batch_size: int, pad_id: int, seed: int) -> None:
        self.rows, self.batch_size, self.pad_id, self.seed = rows, batch_size, pad_id, seed
        self.per_epoch = -(-len(rows) // batch_size)
        self._epoch = -1

    def __call__(self, t: int) -> dict[str, Tensor]:
        epoch, i = divmod(t, self.per_epoch)
        if epoch != self._epoch:
            rng = random_state(self.seed, epoch)
            order, stretch = rng.permutation(len(self.rows)).tolist(), self.SORTED * self.batch_size
            order = [row for start in range(0, len(order), stretch)
                     for row in sorted(order[start : start + stretch], key=lambda row: len(self.rows[row].ids))]
            batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
            self._batches, self._epoch = [batches[j] for j in rng.permutation(len(batches))], epoch
        return collate([self.rows[row] for row in self._batches[i]], self.pad_id)


def in_order(rows: Sequence[Row], pad_id: int, size: int = 64) -> list[tuple[list[int], dict[str, Tensor]]]:
    """All rows once, those of one length together, for evaluation: (their numbers, the batch)."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    return [(some, collate([rows[i] for i in some], pad_id))
            for some in (order[i : i + size] for i in range(0, len(order), size))]
