"""Sentence pairs: windows, cuts, the other document, and nothing in the lengths that would give the answer away."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.command import UserError
from minibert.nsp import Pairs, assemble, draw_pairs, windows
from tests.explain import equal, same

CLS, SEP, PAD = 2, 3, 0
LENGTHS = [90, 7, 41, 3, 160, 25, 12, 77, 5, 61, 2, 33]  # documents, short ones among them
WIDTH = 17


def draw(lengths=LENGTHS, seed=0, width=WIDTH, share=0.5) -> tuple[np.ndarray, Pairs]:
    spans = windows(lengths, width)
    return spans, draw_pairs(spans, np.random.default_rng(seed), share)


def document_of(lengths) -> np.ndarray:
    """The document of each token."""
    return np.repeat(np.arange(len(lengths)), lengths)


def sizes(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return pairs.a[:, 1] - pairs.a[:, 0], pairs.b[:, 1] - pairs.b[:, 0]


# ---- windows


def test_windows_by_hand():
    equal(windows([7, 2, 4], 4).tolist(), [[0, 3, 0, 7], [3, 7, 0, 7], [7, 9, 7, 9], [9, 13, 9, 13]],
          "begin and end of the window, begin and end of its document; equal parts, not full ones and a rest")


def test_a_document_of_one_token_has_no_window():
    equal(windows([1, 3, 0, 1], 5).tolist(), [[1, 4, 1, 4]], "one token cannot be cut into A and B; 0 tokens neither")


@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=8), width=st.integers(3, 20))
@settings(max_examples=100, deadline=None, database=None)
def test_windows_cover_each_token_once(lengths, width):
    read = np.zeros(sum(lengths), dtype=int)
    for begin, end, doc_begin, doc_end in windows(lengths, width):
        read[begin:end] += 1
        assert doc_begin <= begin and end <= doc_end, "a window lies inside its document"
        assert 2 <= end - begin <= width, f"expected 2 to {width} tokens, came {end - begin}"
    expected = np.repeat([int(n >= 2) for n in lengths], lengths)
    equal(read.tolist(), expected.tolist(), "each token of a document of two or more lies in exactly one window")


# ---- draw_pairs


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_pairs_are_random(seed):
    spans, pairs = draw(seed=seed)
    equal(int(pairs.is_random.sum()), len(spans) // 2, "exactly half, not a coin for each")


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 1)])
def test_all_or_none_can_be_random(share, expected):
    spans, pairs = draw(share=share)
    equal(int(pairs.is_random.sum()), expected * len(spans), "random_share is the share of random Bs")


@pytest.mark.parametrize("seed", range(5))
def test_a_true_b_is_what_follows_a_up_to_the_end_of_the_window(seed):
    spans, pairs = draw(seed=seed)
    true = ~pairs.is_random
    equal(pairs.a[:, 0].tolist(), spans[:, 0].tolist(), "A begins where its window begins")
    equal(pairs.b[true, 0].tolist(), pairs.a[true, 1].tolist(), "B begins where A ends")
    equal(pairs.b[true, 1].tolist(), spans[true, 1].tolist(), "B ends where the window ends")


DOCUMENTS = {"mixed": LENGTHS, "a long and a short one": [300, 4], "a short and a long one": [4, 300],
             "two of the same length": [50, 50], "short ones": [2, 3, 2, 4, 3], "equal lengths": [20] * 6}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_random_b_is_from_another_document(name):
    lengths = DOCUMENTS[name]
    document = document_of(lengths)
    for seed in range(60):
        _, pairs = draw(lengths, seed)
        for (a0, a1), (b0, b1) in zip(pairs.a[pairs.is_random], pairs.b[pairs.is_random], strict=True):
            own, others = set(document[a0:a1]), set(document[b0:b1])
            assert len(others) == 1, f"seed {seed}: expected B inside one document, came documents {others}"
            assert own.isdisjoint(others), f"seed {seed}: B comes from the document of A ({own}), so it may be the next"


def test_both_parts_hold_a_token():
    for seed in range(20):
        for length in sizes(draw([2, 3, 90, 2], seed, width=6)[1]):
            assert length.min() >= 1, "an empty A or B: the cut must lie inside the window"


def test_the_cut_falls_into_the_middle_half():
    spans, pairs = draw([400] * 30, width=40)
    share = sizes(pairs)[0] / (spans[:, 1] - spans[:, 0])
    assert 0.2 < share.min() < 0.3 and 0.7 < share.max() < 0.8, \
        f"expected A to be 25 % to 75 % of the window, came {share.min():.0%} to {share.max():.0%}"


@pytest.mark.parametrize("name", ["mixed", "two of the same length", "equal lengths"])
def test_a_random_b_is_as_long_as_the_true_one_was(name):
    """So the lengths of A, of B and of both together are alike in the two classes, row by row."""
    for seed in range(40):
        spans, pairs = draw(DOCUMENTS[name], seed)
        a, b = sizes(pairs)
        wrong = np.flatnonzero(a + b != spans[:, 1] - spans[:, 0])
        assert len(wrong) == 0, (
            f"seed {seed}: expected len(A) + len(B) = {np.diff(spans[wrong[0]])[0]}, came {a[wrong[0]] + b[wrong[0]]}; "
            "a shorter random B tells its class by the length alone: low training loss, nothing learnt")


def test_the_classes_have_the_same_lengths_over_many_draws():
    lengths = {True: [], False: []}
    for seed in range(300):
        _, pairs = draw(seed=seed)
        for kind in lengths:
            lengths[kind] += zip(*(part[pairs.is_random == kind] for part in sizes(pairs)), strict=True)
    true, random = (np.array(lengths[kind]) for kind in (False, True))
    for name, f in {"len(A)": lambda x: x[:, 0], "len(B)": lambda x: x[:, 1], "both": lambda x: x.sum(1)}.items():
        a, b = f(true), f(random)
        sigma = (a.var() / len(a) + b.var() / len(b)) ** 0.5
        assert abs(a.mean() - b.mean()) < 5 * sigma, f"{name}: mean {a.mean():.2f} where B follows, {b.mean():.2f} else"


def test_every_window_is_random_in_half_of_the_epochs():
    shares = np.mean([draw(seed=seed)[1].is_random for seed in range(400)], axis=0)
    assert abs(shares - 0.5).max() < 5 * 0.5 / 400**0.5, f"expected about one half for each window, came {shares}"


def test_every_other_document_that_is_long_enough_serves():
    document, found = document_of(LENGTHS), set()
    for seed in range(100):
        _, pairs = draw(seed=seed)
        found |= set(document[pairs.b[pairs.is_random, 0]])
    missing = {i for i, n in enumerate(LENGTHS) if n >= 12} - found
    assert not missing, f"documents {missing} never served as the other one"


@pytest.mark.parametrize("lengths", [[200], [200, 1], []], ids=str)
def test_one_document_is_a_user_error(lengths):
    with pytest.raises(UserError, match="two documents"):
        draw(lengths)


def test_pairs_depend_on_the_seed_alone():
    first, again, other = draw(seed=1)[1], draw(seed=1)[1], draw(seed=2)[1]
    for name in ("a", "b", "is_random"):
        equal(getattr(again, name).tolist(), getattr(first, name).tolist(), "the same seed gives the same pairs")
    assert other.b.tolist() != first.b.tolist(), "another seed, as another epoch has it, should give other pairs"


# ---- assemble

TOKENS = np.arange(10, 40)
PAIRS = Pairs(a=np.array([[0, 2], [5, 8], [9, 10]]), b=np.array([[2, 5], [20, 21], [28, 30]]),
              is_random=np.array([False, True, True]))


def assembled(rows=(0, 1)):
    return assemble(PAIRS, np.array(rows), TOKENS, CLS, SEP, PAD)


def test_rows_by_hand():
    same(assembled()[0], torch.tensor([[CLS, 10, 11, SEP, 12, 13, 14, SEP],
                                       [CLS, 15, 16, 17, SEP, 30, SEP, PAD]]), "[CLS] A [SEP] B [SEP], then [PAD]")


def test_segments_by_hand():
    same(assembled()[1], torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1],
                                       [0, 0, 0, 0, 0, 1, 1, 0]]), "the first [SEP] belongs to A, the last one to B")


def test_special_places_by_hand():
    same(assembled()[2].int(), torch.tensor([[1, 0, 0, 1, 0, 0, 0, 1],
                                             [1, 0, 0, 0, 1, 0, 1, 1]], dtype=torch.int32), "True: never masked")


def test_label_one_means_random():
    same(assembled((2, 0, 1))[3].int(), torch.tensor([1, 0, 1], dtype=torch.int32),
         "Google's convention: 0 = B follows A, 1 = B is random; and labels follow the order of the rows")


def test_a_batch_is_as_wide_as_its_longest_row():
    equal(tuple(assembled((2,))[0].shape), (1, 6), "padding up to max_len would be computed for nothing")


@given(lengths=st.lists(st.integers(0, 70), min_size=2, max_size=8), max_len=st.integers(6, 24),
       seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None, database=None)
def test_no_row_is_longer_than_max_len(lengths, max_len, seed):
    spans = windows(lengths, max_len - 3)
    if len(set(spans[:, 2])) < 2:
        return  # one document
    pairs = draw_pairs(spans, np.random.default_rng(seed))
    ids, _, special, _ = assemble(pairs, np.arange(len(spans)), np.arange(10, 10 + sum(lengths)), CLS, SEP, PAD)
    assert ids.shape[1] <= max_len, f"expected at most {max_len} tokens, came {ids.shape[1]}: [CLS] and two [SEP] count"
    ends = (ids == SEP).sum(1)
    assert (ends == 2).all(), f"expected two [SEP] in every row, came {ends.tolist()}: the last one was cut off?"
    assert (special == (ids < 10)).all(), "special marks [CLS], [SEP] and [PAD], and nothing else"
