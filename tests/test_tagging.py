"""A tag for each word: rows, decoding, F1 (minibert/tagging.py), against numbers worked by hand and seqeval's."""

import random

import pytest
import torch

from common.command import UserError
from common.labelled import Tagged
from minibert import tagging
from minibert.rows import IGNORED
from tests import tiny
from tests.explain import equal


@pytest.mark.parametrize(("tags", "expected"), [
    ("O O", []), ("B-X", [("X", 0, 1)]), ("B-X I-X O", [("X", 0, 2)]), ("B-X B-X", [("X", 0, 1), ("X", 1, 2)]),
    ("I-X I-X", [("X", 0, 2)]), ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),
    ("O I-X B-X I-X", [("X", 1, 2), ("X", 2, 4)]),
    ("B-X O I-X", [("X", 0, 1), ("X", 2, 3)])])
def test_entities(tags, expected):
    equal(sorted(tagging.entities(tags.split()), key=lambda e: e[1]), expected, "where an entity begins or ends")


def test_scores_by_hand():
    truth = [Tagged(("a", "b", "c", "d"), ("B-X", "I-X", "O", "B-Y")), Tagged(("e",), ("O",))]
    given = [["B-X", "I-X", "O", "B-X"], ["B-Y"]]  # one right; a wrong kind; one that is not there: 1 of 3, 1 of 2
    equal(tagging.scores(given, truth), {"entity_f1": 2 / 5, "precision": 1 / 3, "recall": 1 / 2},
          "whole entities count")
    equal(tagging.scores([["B-X", "O", "O", "O"], ["O"]], truth)["entity_f1"], 0.0, "half an entity is none")
    equal(tagging.scores([["O"] * 4, ["O"]], truth), {"entity_f1": 0.0, "precision": 0.0, "recall": 0.0},
          "nothing found")


def test_scores_are_seqevals():
    """Figures of seqeval 1.2.2 (f1_score, precision_score, recall_score, default mode) on the same 200 sentences."""
    rng = random.Random(7)
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    truth, given = [], []
    for _ in range(200):
        before, sentence = "O", []
        for _ in range(rng.randint(1, 9)):
            before = rng.choice([tag for tag in tags if not (tag.startswith("I-") and before[2:] != tag[2:])])
            sentence.append(before)
        truth.append(sentence)
        given.append([tag if rng.random() < 0.7 else rng.choice(tags) for tag in sentence])
    scores = tagging.scores(given, [Tagged(tuple("x" * len(t)), tuple(t)) for t in truth])
    assert scores["precision"] == pytest.approx(0.6921824104234527, abs=1e-15)
    assert scores["recall"] == pytest.approx(0.7671480144404332, abs=1e-15)
    assert scores["entity_f1"] == pytest.approx(0.7277397260273973, abs=1e-15)


def test_rows_ask_at_the_first_piece_of_each_word():
    t = tiny.tokenizer()
    example = Tagged(("the", "Xyzzy", "cat"), ("O", "B-X", "O"))
    [row], lost = tagging.rows_of([example], ["B-X", "O"], t, 64)
    equal(lost, "", "all fits")
    expected = [IGNORED]
    for word, target in zip(example.words, (1, 0, 1)):
        expected += [target, *[IGNORED] * (len(t.encode(word)) - 1)]
    assert len(expected) > 4, "some word should have several pieces for this test"
    equal(row.targets, [*expected, IGNORED], "[CLS], one target a word, [SEP]")
    equal(len(row.ids), len(row.targets), "a target for each token")


def test_what_does_not_fit_is_counted_and_is_no_entity():
    t = tiny.tokenizer()
    n = len(t.encode("the"))
    example = Tagged(("the",) * 30, ("B-X",) * 30)
    [row], lost = tagging.rows_of([example], ["B-X", "O"], t, 10 * n + 2)
    equal(len(row.ids), 10 * n + 2, "as long as the model reads")
    assert lost.startswith(f"20 words stand behind token {10 * n + 2}"), lost
    logits = torch.zeros(10 * n + 2, 2)
    logits[:, 0] = 1.0
    model = type("Model", (), {"labels": ("B-X", "O")})
    [tags] = tagging.answers(model, [logits], [row], [example])
    equal(tags, ["B-X"] * 10 + ["O"] * 20, "ten words were read")


def test_labels():
    train = [Tagged(("a",), ("B-X",)), Tagged(("b",), ("O",))]
    equal(tagging.labels_of(train, train), ["B-X", "O"], "sorted")
    with pytest.raises(UserError, match="the tag 'B-Y' occurs in what is held out and never"):
        tagging.labels_of(train, [Tagged(("a",), ("B-Y",))])
    with pytest.raises(UserError, match="one tag only"):
        tagging.labels_of(train[1:], train[1:])
