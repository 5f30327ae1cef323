"""The counted start of a GPT: what it predicts, and what its first block looks at, before a step of training."""

import math
from collections import Counter
from functools import cache

import pytest
import torch

from common.attention import attend_explicit
from common.command import UserError
from minigpt import Qwen3, Qwen3Config
from minigpt.objective import Windows, next_token_loss
from minigpt.start import LARGEST_VOCABULARY, counted_start, pair_model
from tests.explain import close, equal, same


@cache
def structured(v: int, n: int = 20_000, seed: int = 1) -> torch.Tensor:
    """A text in which each token is mostly followed by one of two others."""
    random = torch.Generator().manual_seed(seed)
    after = [torch.randperm(v, generator=random).tolist() for _ in range(2)]
    tokens, draws = [0], torch.rand(n, generator=random).tolist()
    for draw, stray in zip(draws, torch.randint(v, (n,), generator=random).tolist()):
        tokens.append(stray if draw < 0.1 else after[int(draw < 0.4)][tokens[-1]])
    return torch.tensor(tokens)


def qwen(v: int, d: int = 48, heads: int = 3, max_len: int = 40, **sizes) -> Qwen3:
    return Qwen3(Qwen3Config(v, d, **{"n_layers": 2, "n_heads": heads, "d_ff": 64, "max_len": max_len,
                                      "rope_base": 1_000.0, "bos_id": 0, "eos_id": 0} | sizes)).eval()


def started(v: int, tokens=None, **sizes) -> Qwen3:
    model = qwen(v, **sizes)
    counted_start(model, structured(v) if tokens is None else tokens)
    return model


def counts(tokens, v: int) -> torch.Tensor:
    """(V, V): how often j comes after i."""
    times = Counter(zip(tokens.tolist(), tokens[1:].tolist()))
    return torch.tensor([[float(times[i, j]) for j in range(v)] for i in range(v)])


def conditional(tokens, v: int) -> torch.Tensor:
    """(V, V): how often j comes after i, as a share."""
    times = counts(tokens, v)
    return times / times.sum(1, keepdim=True).clamp(min=1)


# ---- what it predicts


def test_fewer_tokens_than_numbers_are_predicted_as_counted():
    """Nothing has to be cut off: what comes out is the table, up to its smoothing."""
    v = 20
    tokens = structured(v)
    with torch.no_grad():
        p = started(v, tokens)(torch.arange(v)[:, None])[:, 0].softmax(-1)
    close(p, conditional(tokens, v), "softmax(W norm(E[i])) should be P(next | i) as counted", rtol=0, atol=0.02)


def test_it_says_the_same_wherever_a_token_stands():
    """The blocks add nothing yet, so only the last token counts."""
    model = started(20)
    ids = torch.randint(20, (3, 30))
    with torch.no_grad():
        close(model(ids), model(ids.flatten()[:, None]).view(3, 30, 20), "every last projection should be 0")


@pytest.mark.parametrize("v", [60, 300])
def test_more_tokens_than_numbers_are_predicted_far_better_than_by_frequency(v):
    tokens = structured(v)
    total, count = next_token_loss(started(v, tokens), Windows(tokens, 40, 20, seed=0)(0))["loss"]
    frequency = torch.bincount(tokens, minlength=v) / len(tokens)
    unigram = -(frequency * frequency.log()).nansum().item()
    came = total.item() / count
    assert came < 0.75 * unigram, f"expected far less than {unigram:.2f} nats (frequency alone), came {came:.2f}"


def test_the_table_itself_when_there_is_room_for_it():
    v, d, s = 20, 48, 7.0
    tokens = structured(v, 3_000)
    times = counts(tokens, v)
    q = (times.sum(0) + 0.5) / (times.sum(0) + 0.5).sum()
    expected = (times + s * q) / (times.sum(1, keepdim=True) + s)  # as if each token had been seen s times more
    embeddings, head = pair_model(tokens, v, d, smoothing=s)
    close((embeddings @ head.T).log_softmax(-1), expected.log(), "D > V: nothing is cut off", rtol=0, atol=0.05)


@pytest.mark.parametrize(("v", "d"), [(20, 48), (60, 16), (200, 32)])
def test_embeddings_and_head_by_themselves(v, d):
    tokens = structured(v)
    embeddings, head = pair_model(tokens, v, d)
    equal((tuple(embeddings.shape), tuple(head.shape)), ((v, d), (v, d)), "a row a token")
    close(embeddings.square().mean(1), torch.ones(v), "every row has a mean square of 1: the norm changes nothing",
          rtol=1e-4, atol=1e-4)
    p = (embeddings @ head.T).softmax(-1)
    frequency = torch.bincount(tokens, minlength=v) / len(tokens)
    close(frequency @ p, frequency, "over all tokens together, each is predicted as often as it comes", rtol=0,
          atol=0.02)


@pytest.mark.parametrize("v", [20, 100])
def test_tokens_that_were_never_seen(v):
    """A held-out character may be none of the training text's."""
    tokens = structured(12, 3_000)
    model = started(v, tokens)
    assert all(p.isfinite().all() for p in model.parameters()), "an empty row or column of counts gives NaN"
    with torch.no_grad():
        p = model(torch.arange(v)[:, None])[:, 0].softmax(-1)
    assert p[:, 12:].max() < 0.1, f"what never came is unlikely, came {p[:, 12:].max():.3f}"
    assert p.min() > 1e-9, "and not impossible: one held-out token would cost the whole figure"


# ---- what the blocks begin with


def test_the_blocks_begin_by_adding_nothing():
    named = dict(started(20).named_parameters())
    ends = [name for name in named if name.endswith(("attention.out.weight", "feed_forward.down.weight"))]
    equal(len(ends), 4, "two in each of two blocks")
    for name in ends:
        equal(named[name].abs().max().item(), 0.0, f"{name} adds to the residual stream")
    others = [name for name, p in named.items() if p.ndim == 2 and name not in ends]
    assert all(named[name].std() > 0 for name in others), "were the others 0 as well, nothing could ever be learned"


def test_all_embeddings_share_their_first_number():
    e = started(60).token.weight
    assert e[:, 0].std() < 1e-6 and e[0, 0].abs() > 0.01, "what the looking heads read is the same for every token"
    assert (e[:, 1:].std(0) > 0).all(), "and it is the only number that is the same"


def attention_weights(model, ids):
    """(H, T, T) of the first block."""
    attention = model.decoder.blocks[0].attention
    x = model.decoder.blocks[0].attention_norm(model.token(ids))
    q, k, v = attention.project(x)
    t = ids.shape[1]
    k, v = (each.repeat_interleave(attention.n_heads // attention.n_kv_heads, dim=1) for each in (k, v))
    return attend_explicit(q, k, v, mask=torch.ones(t, t, dtype=torch.bool).tril())[1].mean(0).detach()


@pytest.mark.parametrize("sizes", [{"d": 128, "heads": 4}, {"d": 256, "heads": 4}, {"d": 192, "heads": 6,
                                   "n_kv_heads": 3}, {"d": 128, "heads": 4, "n_kv_heads": 2}], ids=str)
def test_the_first_heads_look_one_two_three_tokens_back(sizes):
    v = 300
    model = started(v, **sizes)
    weights = attention_weights(model, torch.randint(v, (40, 40)))
    shared_by = sizes["heads"] // sizes.get("n_kv_heads", sizes["heads"])
    for head in range(min(3, sizes.get("n_kv_heads", sizes["heads"])) * shared_by):
        back = head // shared_by + 1  # the query heads of a key-value head look at the same place
        rows = torch.arange(back, 40)
        found = weights[head].argmax(-1)[rows]
        equal(found.tolist(), (rows - back).tolist(), f"head {head} looks most at the token {back} back, from anywhere")
        late = torch.arange(20, 40)
        share = weights[head, late, late - back].mean().item()
        assert share > 3 / 30, f"head {head} gives the token {back} back only {share:.0%} (evenly: {1 / 30:.0%})"


def test_a_head_that_was_not_chosen_looks_nowhere_in_particular():
    """If this fails, the test above proves less than it says."""
    weights = attention_weights(started(300, d=256, heads=8), torch.randint(300, (40, 40)))
    shares = [weights[7, torch.arange(20, 40), torch.arange(20, 40) - back].mean().item() for back in (1, 2, 3, 4)]
    assert max(shares) < 2.5 * min(shares), f"no distance should stand out, came {shares}"


@pytest.mark.parametrize("sizes", [{"heads": 1}, {"heads": 2}, {"heads": 4, "n_kv_heads": 1}, {"n_layers": 1},
                                   {"d": 8, "heads": 4}, {"max_len": 4}, {"max_len": 3}, {"max_len": 2}], ids=str)
def test_odd_sizes(sizes):
    model = started(30, **{"d": 16, "heads": 4, **sizes})
    with torch.no_grad():
        assert model(torch.tensor([[3, 4]])).isfinite().all(), "weights that are not numbers"


# ---- repeating


def test_it_is_a_function_of_the_seed():
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(started(60).state_dict())
    for name in made[0]:
        same(made[1][name], made[0][name], f"{name}: the same seed, another start")
    assert not torch.equal(made[2]["token.weight"], made[0]["token.weight"]), "the seed has no effect"


def test_the_start_changes_numbers_only():
    model = qwen(60)
    before = {name: (p.shape, id(p)) for name, p in model.named_parameters()}
    text = structured(60)
    copy = text.clone()
    counted_start(model, text)
    equal({name: (p.shape, id(p)) for name, p in model.named_parameters()}, before,
          "set in place: no parameter is replaced, tied or added")
    same(text, copy, "the text")
    assert all(p.requires_grad and p.grad is None for p in model.parameters()), "everything is still to be trained"


def test_it_goes_on_to_learn():
    """From zeros in the last projections the gradient has to find its way."""
    tokens = structured(30)
    model = started(30, tokens)
    made = Windows(tokens, 20, 20, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(2):
        total, count = next_token_loss(model, made(0))["loss"]
        losses.append(total.item() / count)
        for _ in range(30):
            optimizer.zero_grad()
            total, count = next_token_loss(model, made(0))["loss"]
            (total / count).backward()
            optimizer.step()
    assert losses[1] < losses[0] - 0.1 and math.isfinite(losses[1]), f"expected the loss to fall, came {losses}"
    assert model.decoder.blocks[1].attention.out.weight.abs().max() > 0, "the last projections stay at 0"


def test_a_vocabulary_too_large_to_count_is_refused_in_one_line():
    with torch.device("meta"):
        model = Qwen3(Qwen3Config(LARGEST_VOCABULARY + 1, 12, 1, 2, d_ff=16, max_len=20))
    with pytest.raises(UserError, match="--recipe gpt2"):
        counted_start(model, torch.arange(10))
