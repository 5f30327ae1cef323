"""The KV-cache: reading in any portions gives what reading all at once gives.

    python -m pytest -s tests/test_cache.py      also prints the largest differences

Every size is different, so that a transposed axis cannot hide.
"""

import random

import pytest
import torch
from torch import Tensor

from common.cache import KVCache
from minigpt.llama import Llama, LlamaConfig
from minigpt.model import GPT, GPTConfig
from tests.explain import close, equal, same

V, CONTEXT = 31, 23
TEXTS = [7, 2, 12, 5, 1]  # B = 5 rows of these lengths


def random_gpt(std: float = 0.3, seed: int = 1, **sizes) -> GPT:
    config = GPTConfig(**{"vocab_size": V, "d_model": 18, "n_layers": 2, "n_heads": 3, "d_ff": 41, "max_len": CONTEXT,
                          "dropout": 0.5, **sizes})
    return randomise(GPT(config), std, seed)


def random_llama(std: float = 0.3, seed: int = 1, **sizes) -> Llama:
    """Grouped heads, and heads that are wider than D / H."""
    config = LlamaConfig(**{"vocab_size": V, "d_model": 20, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2, "d_head": 8,
                            "d_ff": 28, "max_len": CONTEXT, **sizes})
    return randomise(Llama(config), std, seed)


def randomise(model, std: float, seed: int):
    """Every parameter is random, as after a training: fresh biases of 0 and norms of 1 could be left out unseen."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += std * torch.randn(p.shape, generator=noise)
    return model.eval()


@pytest.fixture(scope="module", params=[random_gpt, random_llama], ids=["GPT", "Llama"])
def model(request):
    return request.param()


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def texts(lengths: list[int] = TEXTS) -> list[list[int]]:
    return [torch.randint(V, (n,)).tolist() for n in lengths]


def portions(text: list[int], size: int) -> list[list[int]]:
    return [text[i:i + size] for i in range(0, len(text), size)]


def padded(rows: list[list[int]], pad: int = 0) -> tuple[Tensor, Tensor]:
    """ids (B, T), padded on the right, and the mask (B, T), True = a real token."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    return ids, torch.arange(longest) < torch.tensor([len(row) for row in rows]).unsqueeze(1)


def read(model, cache: KVCache, rows: list[list[int]], pad: int = 0) -> list[Tensor]:
    """Read one portion a row, of any lengths (none is too): the logits (n, V) of each row's real tokens."""
    ids, mask = padded(rows, pad)
    logits = model(ids, mask=None if mask.all() else mask, cache=cache)
    equal(tuple(logits.shape), (*ids.shape, V), "logits of the new tokens, and of them only")
    return [row[real] for row, real in zip(logits, mask)]


def read_in_steps(model, cache: KVCache, rows: list[list[list[int]]], pad: int = 0) -> list[Tensor]:
    """rows: the portions of each row; a row that has no more waits for the others."""
    came: list[list[Tensor]] = [[] for _ in rows]
    for step in range(max(len(row) for row in rows)):
        now = [row[step] if step < len(row) else [] for row in rows]
        for so_far, new in zip(came, read(model, cache, now, pad)):
            so_far.append(new)
    return [torch.cat(logits) for logits in came]


def uncached(model, text: list[int]) -> Tensor:
    """Logits (n, V) of one text, alone and all at once."""
    return model(torch.tensor([text]))[0]


def check(came: list[Tensor], model, rows: list[list[int]], case: str, mistake: str, atol: float = 1e-5) -> None:
    """Each row's cached logits are those of the row alone without a cache."""
    gap = 0.0
    for i, (logits, text) in enumerate(zip(came, rows)):
        expected = uncached(model, text)[len(text) - len(logits):]
        close(logits, expected, f"{case}, row {i}: {mistake}", rtol=atol, atol=atol)
        if len(logits):
            gap = max(gap, (logits - expected).abs().max().item())
    print(f"{type(model).__name__:5} {case}: cached = uncached within {gap:.1e}")


def check_ragged(model, more: list[int], size: int, case: str, mistake: str, **tolerance: float) -> list[Tensor]:
    """Ragged prompts in one call, then `more` tokens a row in portions of `size`; the logits."""
    rows, new = texts(), texts(more)
    steps = [[row, *portions(text, size)] for row, text in zip(rows, new)]
    came = read_in_steps(model, model.new_cache(len(rows)), steps)
    check(came, model, [a + b for a, b in zip(rows, new)], case, mistake, **tolerance)
    return came


# ---- one text


@pytest.mark.parametrize("prompt", [1, 2, 5, CONTEXT - 1])
def test_one_token_at_a_time_up_to_the_last_place(model, prompt):
    [text] = texts([CONTEXT])
    cache = model.new_cache(1)
    steps = [text[:prompt], *portions(text[prompt:], 1)]
    check(read_in_steps(model, cache, [steps]), model, [text], f"a prompt of {prompt}, then single tokens",
          "a new token stands at the place after all that were read, sees all of them and itself")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 22, CONTEXT])
def test_a_prompt_in_portions(model, size):
    [text] = texts([CONTEXT])
    check(read_in_steps(model, model.new_cache(1), [portions(text, size)]), model, [text], f"portions of {size}",
          "in a portion behind a cache the last query is aligned with the last key, and positions go on")


def test_rows_of_one_length_need_no_mask(model):
    rows = texts([9, 9, 9, 9])
    came = read_in_steps(model, model.new_cache(4), [portions(row, 4) for row in rows])
    check(came, model, rows, "4 rows of one length", "rows are mixed up")
    ids, mask = padded(rows)
    same(model(ids, mask=mask, cache=model.new_cache(4)), model(ids, cache=model.new_cache(4)),
         "a mask that is True everywhere says the same as no mask")


# ---- rows of different lengths


def test_a_ragged_batch_in_one_call_and_on_from_there(model):
    check_ragged(
        model, [4] * len(TEXTS), 1, "ragged prompts, then single tokens",
        "each row is written on at its own length, not at that of the longest; padding is not counted, never seen")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_ragged_rows_in_portions(model, size):
    check_ragged(
        model, [7, 3, 8, 6, 9], size, f"ragged prompts, then ragged portions of {size}",
        "token j of a portion sees the keys up to its own row's length + j; a row may get fewer tokens, or none")


def test_rows_that_catch_up(model):
    rows = texts([6, 6, 6])
    steps = [[rows[0][:6], [], rows[0][6:]], [rows[1][:2], rows[1][2:]], [rows[2][:5], rows[2][5:]]]
    more = texts([3, 3, 3])
    steps = [[*row[:2], *portions(new, 2)] for row, new in zip(steps, more)]
    check(read_in_steps(model, model.new_cache(3), steps), model, [a + b for a, b in zip(rows, more)],
          "rows that become equally long", "padding of an earlier call is written over, in the row that waited too")


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_reading_dropping_and_repeating_rows(model, seed):
    draw = random.Random(seed)
    cache, rows = model.new_cache(4), [[] for _ in range(4)]
    for step in range(9):
        if step and draw.random() < 0.4:
            chosen = draw.choices(range(len(rows)), k=draw.randint(1, 6))
            cache.select(chosen)
            rows = [rows[i] for i in chosen]
        room = CONTEXT - max(len(row) for row in rows)
        if room == 0:
            break
        new = texts([draw.randint(0 if rows[0] else 1, min(4, room)) for _ in rows])
        if any(new):
            rows = [old + now for old, now in zip(rows, new)]
            check(read(model, cache, new, pad=step), model, rows, f"random order {seed}, step {step}",
                  "reading and selecting, in any order, keep each row's own past")


def test_a_row_in_a_batch_equals_the_row_alone(model):
    rows = texts()
    together = read_in_steps(model, model.new_cache(len(rows)), [portions(row, 3) for row in rows])
    for i, row in enumerate(rows):
        [alone] = read_in_steps(model, model.new_cache(1), [portions(row, 3)])
        close(together[i], alone, f"row {i} is not the same in company", rtol=1e-5, atol=1e-5)


def test_other_rows_change_no_bit(model):
    rows = texts()
    others = [rows[0], *texts(TEXTS[1:])]
    before, after = (read_in_steps(model, model.new_cache(len(rows)), [portions(row, 3) for row in batch])
                     for batch in (rows, others))
    same(after[0], before[0], "row 0 sees the tokens of another row")
    assert not torch.equal(after[1], before[1]), "this test should change the other rows"


def test_padding_changes_no_bit(model):
    rows, more = texts(), texts([2, 3, 1, 4, 2])
    steps = [[row, new, row[:1]] for row, new in zip(rows, more)]
    before, after = (read_in_steps(model, model.new_cache(len(rows)), steps, pad) for pad in (0, V - 1))
    for i in range(len(rows)):
        same(after[i], before[i], f"row {i} sees what stands in the padding, of this call or of an earlier one")


# ---- select


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [4, 0, 3, 1, 2], [1], [3, 1], [2, 2, 0, 4, 2, 1, 1]],
                         ids=["all", "another order", "one", "dropped", "repeated"])
def test_going_on_with_chosen_rows(model, chosen):
    rows = texts()
    cache = model.new_cache(len(rows))
    read(model, cache, rows)
    cache.select(chosen)
    more = texts([3] * len(chosen))  # a row that came twice goes on in two ways
    came = read_in_steps(model, cache, [portions(new, 1) for new in more])
    check(came, model, [rows[i] + new for i, new in zip(chosen, more)], f"rows {chosen}",
          "select must choose keys, values and lengths alike, in every layer; a row that is repeated is copied")


def test_rows_of_one_length_after_select(model):
    rows = [*texts([8, 8]), *texts([3])]
    cache = model.new_cache(3)
    read(model, cache, rows)
    cache.select([1, 0])  # the short row is gone
    more = texts([5, 5])
    check(read(model, cache, more), model, [rows[1] + more[0], rows[0] + more[1]], "the ragged row has ended",
          "rows of one length are causal again, and stand where they stood")


# ---- what is refused


def test_a_full_cache_is_refused_and_can_still_be_read(model):
    [text] = texts([CONTEXT])
    cache = model.new_cache(1, 9)
    logits = read(model, cache, [text[:7]])
    with pytest.raises(ValueError, match=r"room for 9 tokens.* 3 more than 7") as refused:
        read(model, cache, [text[7:10]])
    equal(len(str(refused.value).splitlines()), 1, "one clear line")
    logits += read(model, cache, [text[7:9]])
    check([torch.cat(logits)], model, [text[:9]], "after a refusal", "a refused call changed the cache")
    with pytest.raises(ValueError, match="room for 9 tokens"):
        read(model, cache, [text[9:10]])


def test_a_full_row_among_short_ones_is_refused(model):
    cache = model.new_cache(2)
    read(model, cache, texts([CONTEXT, 2]))
    with pytest.raises(ValueError, match=f"room for {CONTEXT} tokens"):
        read(model, cache, texts([1, 1]))


def test_a_row_is_as_long_as_the_context_when_nothing_else_is_said(model):
    equal(model.new_cache(1).max_len, CONTEXT, "new_cache(batch) has room for the whole context")
    with pytest.raises(ValueError, match=f"room for {CONTEXT} tokens"):
        read(model, model.new_cache(1), texts([CONTEXT + 1]))


def test_a_cache_beyond_the_context_is_refused(model):
    with pytest.raises(ValueError):  # the embedding's IndexError says nothing about the context
        read(model, model.new_cache(1, CONTEXT + 2), texts([CONTEXT + 1]))


@pytest.mark.parametrize("mask", [[[0, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 0, 1]]], ids=["left", "between"])
def test_padding_before_a_real_token_is_refused(model, mask):
    ids, mask = torch.randint(V, (2, 3)), torch.tensor(mask, dtype=torch.bool)
    cache = model.new_cache(2)
    for kept in (None, cache):
        with pytest.raises(ValueError, match="on the right"):
            model(ids, mask=mask, cache=kept)
    rows = texts([4, 2])
    check(read(model, cache, rows), model, rows, "after padding on the left", "a refused call changed the cache")


# ---- positions


@pytest.mark.parametrize("rows_differ", [False, True])
def test_positions_may_be_given(model, rows_differ):
    ids = torch.randint(V, (4, 10))
    where = torch.cat([torch.arange(3, 8), torch.arange(12, 17)]).expand(4 if rows_differ else 1, 10)
    where = where + torch.arange(where.shape[0]).unsqueeze(1)  # another place in each row; gaps in all of them
    expected, cache = model.hidden(ids, positions=where), model.new_cache(4)
    came = torch.cat([model.hidden(ids[:, part], positions=where[:, part], cache=cache)
                      for part in (slice(0, 4), slice(4, 5), slice(5, 10))], dim=1)
    close(came, expected, "given positions hold with a cache as they do without one", rtol=1e-5, atol=1e-5)
    assert not torch.allclose(came, model.hidden(ids), atol=1e-2), "the positions were not looked at"


# ---- other sizes and types


@pytest.mark.parametrize("room", [1, 9, 22])
def test_a_cache_smaller_than_the_context(model, room):
    rows = texts([room, max(1, room // 2)])
    came = read_in_steps(model, model.new_cache(2, room), [portions(row, 1) for row in rows])
    check(came, model, rows, f"room for {room}", "the size of the cache changes nothing")


@pytest.mark.parametrize("make", [random_gpt, random_llama])
def test_float64_is_tight(make):
    model = make().double()  # here only a wrong formula differs, not rounding
    check_ragged(model, [4] * len(TEXTS), 2, "float64, ragged",
                 "something small is different: an epsilon, a mask of -1e4, float32 on the way", atol=1e-13)


@pytest.mark.parametrize("make", [random_gpt, random_llama])
def test_bfloat16(make):
    came = check_ragged(make().bfloat16(), [4] * len(TEXTS), 2, "bfloat16, ragged", "wrong by more than rounding",
                        atol=0.1)
    equal(came[0].dtype, torch.bfloat16, "the logits are of the model's type")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_cache_is_of_the_models_type_and_keeps_the_shared_heads_only(dtype):
    cache = random_llama().to(dtype).new_cache(4, 7)
    equal(len(cache.layers), 3, "one part of the cache for each layer")
    cache.reserve(5)
    k, v = torch.randn(2, 4, 2, 5, 8).to(dtype)  # (B, Hkv, T, Dh)
    for came, expected in zip(cache.layers[2].update(k, v), (k, v)):
        equal(came.dtype, dtype, "the cache has the type of the weights: half the memory in bfloat16")
        same(came, expected, "keys and values of the shared heads, as they were handed in")


# ---- by hand


def test_two_rows_by_hand():
    """Rows of 3 and 1 tokens; then 2 tokens a row. Keys are named by number: 10s in row 0, 20s in row 1."""
    cache = KVCache(n_layers=1, batch=2, n_kv_heads=1, d_head=1, max_len=6)

    def step(keys: list[list[int]]) -> tuple:
        positions, mask = cache.reserve(len(keys[0]))
        k = torch.tensor(keys, dtype=torch.float32)[:, None, :, None]  # (B, 1, T, 1)
        kept, values = cache.layers[0].update(k, -k)
        same(values, -kept, "values are kept as keys are")
        return positions, mask, kept[:, 0, :, 0]

    positions, mask, _ = step([[10, 11, 12], [20, 98, 99]])  # 98 and 99 are padding
    assert mask is None, f"expected no mask: all rows begin at 0, so causal says it all; came {mask}"
    equal(positions.tolist(), [[0, 1, 2]], "positions begin at 0")
    cache.advance(3, torch.tensor([[True, True, True], [True, False, False]]))
    equal(list(cache.lengths), [3, 1], "padding is not counted")

    positions, mask, kept = step([[13, 14], [21, 22]])
    equal(positions.tolist(), [[3, 4], [1, 2]], "each row goes on at its own length")
    seen = [[kept[row][mask[row, 0, query]].tolist() for query in range(2)] for row in range(2)]
    equal(seen, [[[10, 11, 12, 13], [10, 11, 12, 13, 14]], [[20, 21], [20, 21, 22]]],
          "a new token sees its row up to itself: no padding, not the second new token from the first")
    cache.advance(2)
    equal(list(cache.lengths), [5, 3], "without a mask all tokens count")
    cache.select([1, 1])
    equal(list(cache.lengths), [3, 3], "select chooses the lengths too")
    equal(step([[23], [24]])[2].tolist(), [[20, 21, 22, 23], [20, 21, 22, 24]], "select chooses rows of keys")


# ---- the memory of an encoder-decoder


def test_a_cache_has_no_memory_of_its_own():
    cache = KVCache(n_layers=1, batch=2, n_kv_heads=1, d_head=1, max_len=3)
    cache.select([1, 1, 0])
    equal((cache.memory, cache.memory_mask), (None, None), "GPT and LLaMA read nothing but their own text")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0, 1], [1], [2, 0], [1, 1, 0, 1, 2]],
                         ids=["all", "another order", "one", "dropped", "repeated"])
def test_select_chooses_the_memory_and_its_mask(masked, chosen):
    """3 rows, 2 layers, memories of 4 places: each number says its row, layer and place, 100 row + 10 layer + place."""
    numbers = 100.0 * torch.arange(3)[:, None] + torch.arange(4)  # (B, S)
    memory = [((numbers + 10 * layer).view(3, 1, 4, 1), -(numbers + 10 * layer).view(3, 1, 4, 1)) for layer in (0, 1)]
    real, handed_in = torch.arange(4) < torch.tensor([4, 1, 3])[:, None], [keys.clone() for keys, _ in memory]
    cache = KVCache(n_layers=2, batch=3, n_kv_heads=1, d_head=1, max_len=5)
    cache.memory, cache.memory_mask, rows = memory, real if masked else None, [0, 1, 2]
    for choice in (chosen, [len(chosen) - 1, 0]):  # twice: the second choice is among the first
        cache.select(choice)
        rows = [rows[i] for i in choice]
        equal(len(cache.memory), 2, "one pair of keys and values for each layer")
        for layer, (keys, values) in enumerate(cache.memory):
            same(keys[:, 0, :, 0], numbers[rows] + 10 * layer, f"layer {layer}: keys of rows {rows}, at all places")
            same(values, -keys, f"layer {layer}: values are chosen as keys are")
        mask = cache.memory_mask
        equal(mask if mask is None else mask.tolist(), real[rows].tolist() if masked else None,
              "the mask of the memory goes with its rows; without a mask there is none")
    for (keys, values), before in zip(memory, handed_in):
        same(keys, before, "the tensors that were handed in belong to the caller")
        same(values, -before, "the tensors that were handed in belong to the caller")
