"""Windows of a text that show any number of tokens ahead (one token, GPT's: tests/test_gpt_objective.py), and random
numbers that know their place."""

import pytest
import torch

from common.batches import TokenWindows, cut, random_state, torch_random_state
from common.command import UserError
from tests.explain import equal, same


@pytest.mark.parametrize("ahead", [0, 3, 10, 25])
def test_a_window_shows_its_tokens_and_those_ahead(ahead):
    windows = TokenWindows(torch.arange(203), 10, 4, seed=0, ahead=ahead)
    for t in range(2 * windows.batches_per_epoch):
        came = windows(t)
        equal(tuple(came.shape), (4, 10 + ahead), "(B, length + ahead)")
        same(came, came[:, :1] + torch.arange(10 + ahead), "a window is a piece of the text as it stands")


@pytest.mark.parametrize(("n", "length", "rows", "ahead"), [
    (503, 10, 4, 0), (503, 10, 4, 3), (100, 7, 1, 0), (50, 2, 3, 0), (39, 20, 1, 0), (64, 1, 5, 0), (64, 5, 2, 9)])
def test_an_epoch_takes_no_token_twice_and_leaves_few_out(n, length, rows, ahead):
    windows = TokenWindows(torch.arange(n), length, rows, seed=1, ahead=ahead)
    each = windows.batches_per_epoch
    times = torch.zeros(n, dtype=torch.long)
    for epoch in range(60):
        seen = torch.cat([windows(t)[:, :length].flatten() for t in range(epoch * each, (epoch + 1) * each)])
        equal(len(seen), each * rows * length, "full batches")
        equal(len(seen.unique()), len(seen), f"epoch {epoch}: a token comes twice")
        assert n - len(seen) < (rows + 1) * length + ahead, f"epoch {epoch} leaves out {n - len(seen)} of {n} tokens"
        times[seen] += 1
    unread = (times[: n - ahead] == 0).nonzero().flatten().tolist()
    equal(unread, [], "whatever one epoch leaves out, others read: offset and order change")


@pytest.mark.parametrize("ahead", [0, 4])
@pytest.mark.parametrize(("length", "rows"), [(10, 1), (7, 3), (2, 5)])
def test_the_shortest_text_that_is_enough_for_every_offset(length, rows, ahead):
    shortest = rows * length + (length - 1) + ahead  # a batch behind the largest offset
    windows = TokenWindows(torch.arange(shortest), length, rows, seed=0, ahead=ahead)
    for t in range(60):
        equal(tuple(windows(t).shape), (rows, length + ahead), "whatever the offset, one batch is full")
    with pytest.raises(UserError, match="too short") as caught:
        TokenWindows(torch.arange(shortest - 1), length, rows, seed=0, ahead=ahead)
    line = str(caught.value)
    assert f"has {shortest - 1} tokens" in line and f"takes {shortest}" in line, f"expected {shortest}, came {line}"


def test_a_text_without_tokens():
    with pytest.raises(UserError, match="0 tokens"):
        TokenWindows(torch.arange(0), 8, 2, seed=0)


def test_a_piece_of_the_text_for_each_start():
    tokens = torch.tensor([5, 3, 8, 1, 9, 2])
    same(cut(tokens, torch.tensor([2, 0, 2]), 3), torch.tensor([[8, 1, 9], [5, 3, 8], [8, 1, 9]]), "a row for each")
    same(cut(tokens, torch.tensor([5]), 1), torch.tensor([[2]]), "the last token")
    same(cut(tokens, torch.tensor([0]), 6), tokens[None], "the whole text")
    equal(tuple(cut(tokens, torch.tensor([], dtype=torch.long), 4).shape), (0, 4), "no start, no row")
    with pytest.raises(IndexError):
        cut(tokens, torch.tensor([4]), 3)


def test_random_numbers_depend_on_seed_and_place_alone():
    def draw(*path: int) -> tuple[int, int]:
        here = torch_random_state(*path)
        return int(random_state(*path).integers(2**62)), int(torch.randint(2**62, (), generator=here))

    places = [(0,), (1,), (0, 1), (1, 1), (1, 2), (2, 1), (0, 1, 1), (0, 2, 1), (1, 2, 3), (1, 3, 2)]
    first = [draw(*place) for place in places]
    torch.manual_seed(5)
    equal([draw(*place) for place in reversed(places)], first[::-1], "not on what was drawn before")
    for drawn in zip(*first):
        equal(len(set(drawn)), len(places), "another seed or another place gives other numbers")
