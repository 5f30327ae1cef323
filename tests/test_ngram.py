"""The model that only counts (common/ngram.py), against counting by hand."""

import math
import random

import pytest

from common.ngram import BACKOFF, NGram
from tests.explain import equal

TEXTS = [[1, 2, 3], [1, 2, 4], [1, 2, 4], [5, 2, 3]]


def test_scores_by_hand():
    model = NGram(TEXTS, order=3)
    assert model.score(4, [1, 2]) == pytest.approx(math.log(2 / 3)), "1 2 is followed by 3, 4, 4"
    assert model.score(3, [5, 2]) == pytest.approx(0.0), "5 2 is always followed by 3"
    assert model.score(3, [9, 2]) == pytest.approx(math.log(BACKOFF * 2 / 4)), "9 2 was not seen; 2: 3, 4, 4, 3"
    assert model.score(5, [1, 2]) == pytest.approx(math.log(BACKOFF**2 * 1 / 12)), "5 is one of twelve tokens"
    assert model.score(7, [1, 2]) == pytest.approx(math.log(BACKOFF**2 * 0.5 / 12)), "7 was never seen"


def test_the_longest_context_decides():
    model = NGram(TEXTS, order=3)
    equal(model.best([5, 2], 2), [3, 4], "5 2 says 3 first, though 4 is as frequent after 2; then the shorter context")
    equal(NGram(TEXTS, order=1).best([5, 2]), [2], "of order 1 it knows frequencies alone")


def test_between_two_texts_by_brute_force():
    draw = random.Random(0)
    texts = [[draw.randrange(6) for _ in range(8)] for _ in range(60)]
    model = NGram(texts, order=3)
    for _ in range(20):
        left, right = [draw.randrange(6) for _ in range(3)], [draw.randrange(6) for _ in range(3)]
        best = max(range(6), key=lambda t: sum(model.score((left + [t] + right)[i], (left + [t] + right)[:i])
                                               for i in range(len(left) + len(right) + 1)))
        equal(model.best_between(left, right), [best],
              "tokens further behind do not see the gap, so they decide nothing")


def test_writing():
    model = NGram([["a", "b", "c", "end"], ["a", "b", "c", "end"]], order=3)
    equal(model.write(["a"], 10, stop="end"), ["b", "c"], "the best token each time, up to the stop, which is left out")
    equal(model.write(["a"], 1, stop="end"), ["b"], "max_new tokens at most")
