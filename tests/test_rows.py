"""Rows for a fine-tuned BERT, and batches of them (minibert/rows.py)."""

import torch

from minibert.rows import IGNORED, Row, Shuffled, collate, frame, in_order
from tests import tiny
from tests.explain import equal, same


def rows(n=50):
    return [Row(list(range(7, 7 + 2 + i % 9)), [0] * (2 + i % 9), [i]) for i in range(n)]


def test_frames():
    t = tiny.tokenizer()
    equal(frame(t, [10, 11]), ([t.cls_id, 10, 11, t.sep_id], [0, 0, 0, 0]), "[CLS] A [SEP]")
    equal(frame(t, [10], [11, 12]), ([t.cls_id, 10, t.sep_id, 11, 12, t.sep_id], [0, 0, 0, 1, 1, 1]),
          "segment 1 is B and its [SEP]")
    equal(frame(t, [], []), ([t.cls_id, t.sep_id, t.sep_id], [0, 0, 1]), "nothing between the marks")


def test_collate_pads_on_the_right():
    batch = collate([Row([7, 8], [0, 1], [3]), Row([9, 9, 9], [0, 0, 0], [1, 2])], pad_id=5)
    equal(batch["ids"].tolist(), [[7, 8, 5], [9, 9, 9]], "padding with pad_id")
    equal(batch["segments"].tolist(), [[0, 1, 0], [0, 0, 0]], "segment 0")
    equal(batch["mask"].tolist(), [[True, True, False], [True, True, True]], "True = a real token")
    equal(batch["targets"].tolist(), [[3, IGNORED], [1, 2]], "a missing target counts nothing")


def test_every_row_once_an_epoch_and_another_order_the_next():
    batches = Shuffled(rows(), 8, pad_id=0, seed=1)
    equal(batches.per_epoch, 7, "50 rows in batches of 8, the last one smaller")
    epochs = [[i for t in range(7) for i in batches(e * 7 + t)["targets"].flatten().tolist()] for e in range(2)]
    for epoch in epochs:
        equal(sorted(epoch), list(range(50)), "each row once")
    assert epochs[0] != epochs[1]


def test_a_batch_is_a_function_of_seed_and_step():
    a, b = Shuffled(rows(), 8, 0, seed=1), Shuffled(rows(), 8, 0, seed=1)
    later = b(9)
    for t in range(9):
        a(t)
    same(a(9)["ids"], later["ids"], "batch t depends on the batches before it")
    assert not torch.equal(Shuffled(rows(), 8, 0, seed=2)(0)["targets"], a(0)["targets"])


def test_rows_of_like_length_come_together():
    many = rows(900)
    batches = Shuffled(many, 8, 0, seed=0)
    padded = sum(batches(t)["ids"].numel() for t in range(batches.per_epoch))
    real = sum(len(row.ids) for row in many)
    assert padded < 1.1 * real, f"{padded} tokens for {real} real ones"


def test_evaluation_reads_every_row():
    numbers = [i for some, batch in in_order(rows(), 0, size=16) for i in some]
    equal(sorted(numbers), list(range(50)), "each row once")
    for some, batch in in_order(rows(), 0, size=16):
        equal(batch["targets"].flatten().tolist(), some, "the numbers belong to the rows")
