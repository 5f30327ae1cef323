"""Who may look at whom, drawn by hand."""

import pytest
import torch

from common.masks import causal_mask, check_right_padded, padding_mask
from tests.explain import same

HAND = {
    "as many queries as keys": [[1, 0, 0],
                                [1, 1, 0],
                                [1, 1, 1]],
    "two new tokens behind a cache of three": [[1, 1, 1, 1, 0],
                                               [1, 1, 1, 1, 1]],
    "one new token behind a cache of three": [[1, 1, 1, 1]],
    "more queries than keys: the first two see nothing": [[0, 0, 0],
                                                          [0, 0, 0],
                                                          [1, 0, 0],
                                                          [1, 1, 0],
                                                          [1, 1, 1]],
}


@pytest.mark.parametrize("name", HAND)
def test_causal_mask_by_hand(name):
    expected = torch.tensor(HAND[name], dtype=torch.bool)
    same(causal_mask(*expected.shape), expected,
         "the last query belongs to the last key (torch's own is_causal aligns the first ones); True = may attend")


def test_a_query_sees_itself_and_its_past_only():
    for t in range(1, 6):
        for s in range(1, 8):
            mask = causal_mask(t, s)
            for i in range(t):
                own_place = i + s - t
                sees = [j for j in range(s) if mask[i, j]]
                expected = [j for j in range(s) if j <= own_place]
                assert sees == expected, f"T = {t}, S = {s}: query {i} should see the keys {expected}, sees {sees}"


def test_padding_mask_has_one_axis_for_heads_and_one_for_queries():
    real = torch.tensor([[True, True, False], [True, False, False]])  # (B, S) = (2, 3)
    mask = padding_mask(real)
    assert mask.dtype == torch.bool, f"expected a bool mask, came {mask.dtype}"
    same(mask, torch.tensor([[[[True, True, False]]], [[[True, False, False]]]]),
         "(B, S) -> (B, 1, 1, S): masks hide keys, and the keys are the last axis of the scores")


def test_padding_and_causal_masks_combine():
    real = torch.tensor([[True, True, True], [True, True, False]])
    both = padding_mask(real) & causal_mask(2, 3)
    expected = torch.tensor([[[[1, 1, 0], [1, 1, 1]]],
                             [[[1, 1, 0], [1, 1, 0]]]], dtype=torch.bool)  # (B, 1, T, S)
    same(both, expected, "a key must be real and not in the future: both masks say True, so they are joined by &")


@pytest.mark.parametrize("rows", [[[1, 1, 1]], [[1, 1, 0]], [[1, 0, 0]], [[0, 0, 0]], [[1]], [[0]], [[]],
                                  [[1, 1, 1], [1, 0, 0], [1, 1, 0]]], ids=str)
def test_padding_on_the_right_is_let_through(rows):
    assert check_right_padded(torch.tensor(rows, dtype=torch.bool)) is None


@pytest.mark.parametrize("rows", [[[0, 1]], [[0, 0, 1]], [[1, 0, 1]], [[0, 1, 1]], [[0, 1, 0]], [[1, 1, 0, 0, 1]],
                                  [[1, 1, 1], [1, 0, 0], [0, 1, 1]]], ids=str)
def test_padding_before_a_real_token_is_refused(rows):
    with pytest.raises(ValueError, match="padding stands before a real token; put it on the right"):
        check_right_padded(torch.tensor(rows, dtype=torch.bool))
