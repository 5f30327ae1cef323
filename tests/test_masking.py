"""The masking rule, 80/10/10, measured over many draws. Five sigma: a right rule fails once in two million runs."""

import pytest
import torch

from common.tokenizer import SPECIAL, Tokenizer
from minibert.masking import mask_tokens
from tests.explain import equal, same

MASK, FIRST, V = 4, 7, 57  # ids 0 to 6 are special, 7 to 56 are the 50 ordinary pieces
B, T = 400, 500


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(ids, maskable=None, rate=0.15, seed=0):
    maskable = torch.ones_like(ids, dtype=torch.bool) if maskable is None else maskable
    return mask_tokens(ids, maskable, rate, MASK, (FIRST, V), generator(seed))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(FIRST, V, (B, T), generator=generator(99))


def within_five_sigma(count: int, n: int, p: float, what: str, mistake: str) -> None:
    """`count` of `n` independent draws, each with probability p."""
    sigma = (n * p * (1 - p)) ** 0.5
    assert abs(count - n * p) <= 5 * sigma, (f"{what}: expected {p:.2%} ± {5 * sigma / n:.2%}, came {count / n:.2%} "
                                             f"of {n:,}; likely mistake: {mistake}")


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_the_share_of_selected_tokens(ids, rate):
    _, selected = mask(ids, rate=rate)
    within_five_sigma(int(selected.sum()), ids.numel(), rate, "selected", "each maskable token is drawn by itself")


def test_eighty_ten_ten(ids):
    corrupted, selected = mask(ids, rate=0.5)
    n, before, after = int(selected.sum()), ids[selected], corrupted[selected]
    is_mask, is_same = after == MASK, after == before
    within_five_sigma(int(is_mask.sum()), n, 0.8, "selected that became [MASK]", "80 % of the selected, not of all")
    # one of fifty random pieces happens to be the old one
    within_five_sigma(int(is_same.sum()), n, 0.1 + 0.1 / 50, "selected that stayed", "10 % keep their token")
    within_five_sigma(int((~is_mask & ~is_same).sum()), n, 0.1 * 49 / 50, "selected that became another piece",
                      "the last 10 % are split by a second draw, as 80/10/10 and not 80/20")


def test_kinds_are_decided_for_each_token_and_not_for_a_row(ids):
    corrupted, _ = mask(ids, rate=1.0)
    a, b = (corrupted[:, 0::2] == MASK), (corrupted[:, 1::2] == MASK)
    within_five_sigma(int((a & b).sum()), a.numel(), 0.64, "both of two neighbours became [MASK]",
                      "one draw decides for a whole sentence, or for the whole batch")


def test_selection_of_neighbours_is_independent(ids):
    _, selected = mask(ids, rate=0.5)
    a, b = selected[:, 0::2], selected[:, 1::2]
    within_five_sigma(int((a & b).sum()), a.numel(), 0.25, "both of two neighbours selected", "one draw serves several")


def test_only_maskable_tokens_are_selected(ids):
    special = torch.rand(B, T, generator=generator(5)) < 0.3
    corrupted, selected = mask(ids, ~special, rate=1.0)
    same(selected, ~special, "[CLS], [SEP] and [PAD] are never selected; at rate 1 all other tokens are")
    same(corrupted[special], ids[special], "what may not be selected stays as it is")


def test_unselected_tokens_stay(ids):
    corrupted, selected = mask(ids)
    same(corrupted[~selected], ids[~selected], "a token that is not asked for must be shown as it is")


def test_the_input_is_not_changed_in_place(ids):
    before, maskable = ids.clone(), torch.ones_like(ids, dtype=torch.bool)
    corrupted, selected = mask(ids, maskable, rate=1.0)
    same(ids, before, "ids[...] = mask_id writes into the caller's tensor, which is also the answer: clone first")
    assert maskable.all(), "the caller's `maskable` was written into"
    assert corrupted.data_ptr() != ids.data_ptr(), "the result must be a tensor of its own"


def test_random_pieces_are_ordinary_and_equally_likely(ids):
    ids = torch.full_like(ids, FIRST)
    corrupted, _ = mask(ids, rate=1.0)
    drawn = corrupted[(corrupted != MASK) & (corrupted != FIRST)]  # kept tokens are FIRST
    assert drawn.min() > FIRST and drawn.max() < V, \
        f"expected pieces {FIRST + 1} to {V - 1}, came {drawn.min()} to {drawn.max()}: special tokens are left out"
    counts = torch.bincount(drawn, minlength=V)[FIRST + 1:]
    for piece, count in enumerate(counts.tolist(), FIRST + 1):
        within_five_sigma(count, len(drawn), 1 / 49, f"piece {piece}", "randint(low, high): high itself is never drawn")


def test_masks_depend_on_the_generator_alone(ids):
    first, again = mask(ids, seed=3), mask(ids, seed=3)
    torch.manual_seed(12345)
    third, other = mask(ids, seed=3), mask(ids, seed=4)
    for a, b, c in zip(first, again, third, strict=True):
        same(b, a, "the same generator gives the same masks")
        same(c, a, "draw from the generator that is handed in, not from torch's global one")
    assert not torch.equal(first[1], other[1]), "another seed should select other tokens"


def test_the_generator_moves_on(ids):
    random = generator()
    a, b = (mask_tokens(ids, ids > 0, 0.15, MASK, (FIRST, V), random)[1] for _ in range(2))
    assert not torch.equal(a, b), "two calls with one generator should select other tokens: that is a fresh mask"


def test_rate_one_selects_everything(ids):
    assert mask(ids, rate=1.0)[1].all(), "torch.rand is below 1 always, so `draw() < rate` holds at rate 1"


def test_korean_text_goes_through_masking_and_back_unharmed():
    lines = ["대한민국의 수도는 서울이다.", "한국어 문장도 그대로 돌아온다! ㅋㅋㅋ",
             "값이 없으면 «기본값» 3.14를 쓴다 😀"]
    tokenizer = Tokenizer.train(lines, 301)
    for seed, line in enumerate(lines):
        ids = torch.tensor([tokenizer.encode(line)])
        corrupted, selected = mask_tokens(ids, torch.ones_like(ids, dtype=torch.bool), 0.5, tokenizer.mask_id,
                                          (len(SPECIAL), tokenizer.vocab_size), generator(seed))
        assert selected.any() and not torch.equal(corrupted, ids), "half of the tokens should have been selected"
        restored = torch.where(selected, ids, corrupted)
        equal(tokenizer.decode(restored[0].tolist()), line, "byte pieces spell what the vocabulary lacks")
