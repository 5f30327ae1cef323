"""Attention: worked by hand, fused against explicit, and the module against torch.nn.MultiheadAttention.

Every size is different, so that a transposed axis cannot hide.
"""

import math

import pytest
import torch
import torch.nn as nn

from common.attention import Attention, RotaryAttention, attend, attend_explicit
from common.masks import causal_mask, padding_mask
from common.positions import Rotary
from tests.explain import close, equal, same

B, H, DH, T, S = 2, 3, 4, 5, 7
D = H * DH
LN3 = math.log(3)  # two scores that differ by ln 3 get the weights 1/4 and 3/4


def attend_explicit_out(*arguments, **options):
    return attend_explicit(*arguments, **options)[0]


BOTH = pytest.mark.parametrize("fn", [attend_explicit_out, attend], ids=["explicit", "fused"])


def one_query(q: list, k: list, v: list) -> tuple:
    """One query against several keys: one sentence, one head."""
    return tuple(torch.tensor(x, dtype=torch.float32)[None, None] for x in ([q], k, v))


# ---- worked by hand


@BOTH
def test_output_by_hand(fn):
    q, k, v = one_query([1, 0], [[0, 5], [LN3, 5]], [[4, 0], [0, 8]])
    out = fn(q, k, v, scale=1.0)  # scores 0 and ln 3, weights 1/4 and 3/4
    close(out, torch.tensor([[[[1.0, 6.0]]]]), "the weights are softmax(scores) over the keys, and they average V")


def test_weights_by_hand():
    q, k, v = one_query([1, 0], [[0, 5], [LN3, 5]], [[4, 0], [0, 8]])
    weights = attend_explicit(q, k, v, scale=1.0)[1]
    close(weights, torch.tensor([[[[0.25, 0.75]]]]), "the second value returned is the weights, after the softmax")


@BOTH
def test_scores_are_divided_by_the_root_of_the_head_width(fn):
    q, k, v = one_query([2, 0, 0, 0], [[0] * 4, [LN3, 0, 0, 0]], [[4, 0, 0, 0], [0, 8, 0, 0]])
    out = fn(q, k, v)  # 2 ln 3 / √4 = ln 3
    close(out, torch.tensor([[[[1.0, 6, 0, 0]]]]), "scores are divided by √Dh: not by Dh, not by √D, not left alone")


@BOTH
def test_mask_true_means_may_attend(fn):
    q, k, v = one_query([1, 0], [[9, 9], [0, 0], [0, 0]], [[5, 5], [4, 0], [0, 8]])
    out = fn(q, k, v, mask=torch.tensor([[False, True, True]]))
    close(out, torch.tensor([[[[2.0, 4.0]]]]), "True = may attend; torch's key_padding_mask means the opposite")


@BOTH
def test_bias_is_added_to_the_scores_after_scaling(fn):
    q, k, v = one_query([1, 0, 0, 0], [[0] * 4, [0] * 4], [[4, 0, 0, 0], [0, 8, 0, 0]])
    out = fn(q, k, v, bias=torch.tensor([[0.0, LN3]]))
    close(out, torch.tensor([[[[1.0, 6, 0, 0]]]]), "score = q·k / √d + bias: the bias itself is not scaled")


@BOTH
def test_causal_aligns_the_last_query_with_the_last_key(fn):
    q, k = torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 3, 3)  # all scores equal
    out = fn(q, k, torch.eye(3)[None, None], causal=True)  # V = identity: the output is the weights
    close(out, torch.tensor([[[[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]]]),
          "two new tokens behind a cache of one: torch's is_causal aligns the first query with the first key")


@BOTH
def test_a_masked_key_weighs_nothing_however_low_the_other_scores_are(fn):
    q, k, v = one_query([1, 0], [[3e4, 0], [-3e4, 0]], [[5, 5], [4, 8]])
    out = fn(q, k, v, mask=torch.tensor([[False, True]]), scale=1.0)
    same(out, torch.tensor([[[[4.0, 8.0]]]]), "hide a key with -inf; with -1e4 it still wins against a score of -3e4")


@BOTH
def test_query_heads_share_key_value_heads_in_order(fn):
    q = torch.zeros(1, 6, 1, DH)
    v = torch.arange(2.0).view(1, 2, 1, 1).expand(1, 2, 3, DH)  # the values of key-value head g are all g
    out = fn(q, torch.zeros(1, 2, 3, DH), v)
    same(out[0, :, 0, 0], torch.tensor([0.0, 0, 0, 1, 1, 1]), "query heads 0-2 share the first key-value head: "
                                                              "repeat_interleave, not repeat")


def test_weights_sum_to_one_over_the_keys():
    weights = attend_explicit(torch.randn(B, H, T, DH), torch.randn(B, H, S, DH), torch.randn(B, H, S, DH))[1]
    equal(tuple(weights.shape), (B, H, T, S), "one weight for each query and key")
    close(weights.sum(-1), torch.ones(B, H, T), "softmax runs over the keys, the last axis")


def test_explicit_dropout_drops_weights_and_scales_the_others():
    q, k = torch.zeros(1, 1, 50, DH), torch.zeros(1, 1, 40, DH)  # every weight is 1/40
    weights = attend_explicit(q, k, torch.randn(1, 1, 40, DH), dropout_p=0.2)[1] * 40
    kept = weights[weights > 0]
    close(kept, torch.full_like(kept, 1 / 0.8), "a kept weight is divided by 1 - p, so that the mean stays")
    share = kept.numel() / weights.numel()  # 2,000 draws: five sigma are 0.045
    assert abs(share - 0.8) < 0.045, f"expected 80 % of the weights kept, came {share:.1%}"


# ---- fused == explicit, outputs and gradients

PADDING = padding_mask(torch.tensor([[True] * S, [True] * 4 + [False] * (S - 4)]))  # (B, 1, 1, S)

CASES = {
    "plain": {},
    "padding": {"mask": True},
    "fixed bias": {"bias": "fixed"},
    "learned bias": {"bias": "learned"},
    "fixed bias, padding": {"bias": "fixed", "mask": True},
    "learned bias, padding": {"bias": "learned", "mask": True},
    "causal, T = S": {"t": S, "causal": True},
    "causal, T < S": {"causal": True},
    "causal, T = 1": {"t": 1, "causal": True},
    "causal, T = 1, padding": {"t": 1, "causal": True, "mask": True},
    "causal, T = 1, padding, bias": {"t": 1, "causal": True, "mask": True, "bias": "learned"},
    "causal, T = 1, S = 1": {"t": 1, "s": 1, "causal": True},
    "causal, padding": {"causal": True, "mask": True},
    "causal, fixed bias": {"t": S, "causal": True, "bias": "fixed"},
    "causal, padding, fixed bias": {"causal": True, "mask": True, "bias": "fixed"},
    "causal, padding, learned bias": {"causal": True, "mask": True, "bias": "learned"},
    "grouped heads": {"h": 6},
    "one key-value head": {"h": 6, "hkv": 1},
    "grouped heads, causal, T = S": {"h": 6, "t": S, "causal": True},
    "grouped heads, causal, T = 1": {"h": 6, "t": 1, "causal": True},
    "grouped heads, causal, padding, bias": {"h": 6, "causal": True, "mask": True, "bias": "learned"},
    "own scale": {"scale": 0.3},
    "own scale, causal, padding, bias": {"scale": 0.3, "causal": True, "mask": True, "bias": "fixed"},
}


def results(fn, t=T, s=S, h=H, hkv=H, bias=None, mask=None, **options) -> dict:
    """Output of fn and gradients of all its inputs, the same inputs whichever fn is."""
    torch.manual_seed(1)
    inputs = {"q": torch.randn(B, h, t, DH), "k": torch.randn(B, hkv, s, DH), "v": torch.randn(B, hkv, s, DH)}
    weight = torch.randn(B, h, t, DH)
    if bias is not None:
        inputs["bias"] = torch.randn(1, h, t, s)
    for name, x in inputs.items():
        x.requires_grad_(name != "bias" or bias == "learned")
    if mask is True:
        mask = PADDING
    out = fn(**inputs, mask=mask, **options)
    (out * weight).sum().backward()
    return {"output": out.detach()} | {f"gradient of {name}": x.grad for name, x in inputs.items() if x.requires_grad}


@pytest.mark.parametrize("case", CASES)
def test_fused_equals_explicit_with_gradients(case):
    expected, came = results(attend_explicit_out, **CASES[case]), results(attend, **CASES[case])
    for name in expected:
        close(came[name], expected[name], f"{name}, {case}: the two ways of attending must agree on the meaning of "
                                          "mask (True = may attend), bias, causal (last with last) and scale")


def test_a_query_that_sees_all_keys_is_the_same_with_and_without_causal():
    expected, came = results(attend, t=1), results(attend, t=1, causal=True)
    for name in expected:
        close(came[name], expected[name], f"{name}: one new token sees the whole cache, not its first key alone")


# ---- a query that may attend to nothing

BLIND = torch.ones(B, 1, T, S, dtype=torch.bool)
BLIND[0, :, 2] = False  # query 2 of sentence 0 sees nothing
EMPTY = padding_mask(torch.tensor([[False] * S, [True] * S]))  # sentence 0 is all padding
FUTURE = ~causal_mask(T, S).expand(B, 1, T, S)  # only the future, which causal forbids: all queries are blind

NOTHING = {
    "a row of the mask": {"mask": BLIND},
    "an all-padding sentence": {"mask": EMPTY},
    "mask, fixed bias": {"mask": BLIND, "bias": "fixed"},
    "mask, learned bias": {"mask": BLIND, "bias": "learned"},
    "padding, learned bias, causal": {"mask": EMPTY, "bias": "learned", "causal": True},
    "causal, T > S": {"t": S, "s": T, "causal": True},
    "causal, T > S, fixed bias": {"t": S, "s": T, "causal": True, "bias": "fixed"},
    "causal, T > S, learned bias": {"t": S, "s": T, "causal": True, "bias": "learned"},
    "causal and mask have nothing in common": {"mask": FUTURE, "causal": True},
    "grouped heads": {"mask": BLIND, "h": 6},
    "grouped heads, causal, T > S, bias": {"t": S, "s": T, "h": 6, "causal": True, "bias": "learned"},
    "with dropout": {"mask": BLIND, "dropout_p": 0.5},
}


def blind_queries(t=T, s=S, mask=None, causal=False, **_) -> torch.Tensor:
    """(B, T), True where no key is left."""
    sees = torch.ones(B, 1, t, s, dtype=torch.bool)
    sees = sees if mask is None else sees & mask
    sees = sees & causal_mask(t, s) if causal else sees
    return ~sees.any(-1)[:, 0]


@BOTH
@pytest.mark.parametrize("case", NOTHING)
def test_a_query_that_sees_nothing_gives_zeros_and_finite_gradients(fn, case):
    came, blind = results(fn, **NOTHING[case]), blind_queries(**NOTHING[case])
    assert blind.any(), "this case should hold a query that sees nothing"
    for name, x in came.items():
        assert x.isfinite().all(), (f"{name}, {case}: expected finite numbers, came NaN or infinity; likely mistake: "
                                    "softmax of a row of -inf is 0 / 0, and the NaN spreads through the gradient")
    rows = came["output"].transpose(1, 2)[blind]  # (blind queries, H, Dh)
    same(rows, torch.zeros_like(rows), f"{case}: no key, no output; a finite filler instead of -inf would average "
                                       "all the values")
    rows = came["gradient of q"].transpose(1, 2)[blind]
    same(rows, torch.zeros_like(rows), f"{case}: a query without keys has no influence, so no gradient")


@pytest.mark.parametrize("case", [name for name in NOTHING if "dropout" not in name])
def test_fused_equals_explicit_where_a_query_sees_nothing(case):
    expected, came = results(attend_explicit_out, **NOTHING[case]), results(attend, **NOTHING[case])
    for name in expected:
        close(came[name], expected[name], f"{name}, {case}: one blind query must not change the other ones")


@BOTH
def test_a_bias_of_minus_infinity_hides_keys_too(fn):
    q, k, v = (torch.randn(1, 1, n, DH, requires_grad=True) for n in (2, 3, 3))
    bias = torch.zeros(2, 3)
    bias[0] = -math.inf
    out = fn(q, k, v, bias=bias)
    out.sum().backward()
    same(out[0, 0, 0], torch.zeros(DH), "-inf in the bias hides a key as the mask does; a row of it gives zeros")
    for name, x in (("q", q), ("k", k), ("v", v)):
        assert x.grad.isfinite().all(), f"expected a finite gradient of {name}, came NaN: softmax of -inf alone is NaN"


def test_weights_of_a_query_that_sees_nothing_are_zeros():
    weights = attend_explicit(*(torch.randn(B, H, n, DH) for n in (T, S, S)), mask=BLIND)[1]
    same(weights[0, :, 2], torch.zeros(H, S), "the returned weights must be free of NaN as well as the output")
    close(weights[1].sum(-1), torch.ones(H, T), "the other queries' weights still sum to 1")


# ---- causality, bit for bit


@BOTH
@pytest.mark.parametrize("t", [S, T, 1])
@pytest.mark.parametrize("options", [{}, {"mask": PADDING}, {"bias": torch.linspace(-9, 9, S)[None]}],
                         ids=["alone", "padding", "bias"])
def test_the_future_changes_no_bit_of_the_past_even_with_large_scores(fn, t, options):
    q, k, v = (torch.randn(B, H, n, DH) * 10 for n in (t, S, S))  # scores 100 times as large as usual
    before = fn(q, k, v, causal=True, **options)
    for j in range(S):
        k2, v2 = k.clone(), v.clone()
        k2[:, :, j:], v2[:, :, j:] = torch.randn(2, B, H, S - j, DH) * 10
        after, past = fn(q, k2, v2, causal=True, **options), max(0, j - (S - t))  # queries before key j
        same(after[:, :, :past], before[:, :, :past],
             f"keys from {j} on changed, and a query before them noticed: the mask must be -inf, before the softmax")


# ---- the module, against torch.nn.MultiheadAttention


def twins(**options) -> tuple[nn.MultiheadAttention, Attention]:
    """torch's module and ours with the same weights."""
    theirs, ours = nn.MultiheadAttention(D, H, batch_first=True), Attention(D, H, **options)
    for p in theirs.parameters():  # its biases begin as zeros, which would hide a lost one
        nn.init.normal_(p, std=0.3)
    names = {"in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias",
             "out_proj.weight": "out.weight", "out_proj.bias": "out.bias"}
    ours.load_state_dict({names[name]: x for name, x in theirs.state_dict().items()})
    return theirs, ours


REAL_X = torch.tensor([[True] * T, [True] * 3 + [False] * (T - 3)])
REAL_CONTEXT = PADDING[:, 0, 0]

# what we are given, what torch is given (there True = hidden), cross-attention or not
ROLES = {
    "self": ({}, {}, False),
    "self, padding": ({"mask": padding_mask(REAL_X)}, {"key_padding_mask": ~REAL_X}, False),
    "self, causal": ({"causal": True}, {"attn_mask": ~causal_mask(T, T)}, False),
    "self, causal, padding": ({"causal": True, "mask": padding_mask(REAL_X)},
                              {"attn_mask": ~causal_mask(T, T), "key_padding_mask": ~REAL_X}, False),
    "cross": ({}, {}, True),
    "cross, padding": ({"mask": PADDING}, {"key_padding_mask": ~REAL_CONTEXT}, True),
}


TIGHT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.mark.parametrize("role", ROLES)
def test_module_equals_torch_multihead_attention(role):
    our_options, their_options, cross = ROLES[role]
    theirs, ours = (module.double() for module in twins())  # in float64 only a wrong formula differs, not rounding
    x, context, weight = (torch.randn(B, n, D, dtype=torch.float64) for n in (T, S, T))
    inputs = []
    for module in (theirs, ours):
        a, c = x.clone().requires_grad_(), context.clone().requires_grad_()
        source = c if cross else a
        if module is theirs:  # need_weights takes the way that is not fused: an independent reference
            expected = theirs(a, source, source, need_weights=True, **their_options)[0]
            (expected * weight).sum().backward()
        else:
            came = ours(a, c if cross else None, **our_options)
            (came * weight).sum().backward()
        inputs.append((a.grad, c.grad) if cross else (a.grad,))
    close(came, expected, f"{role}: Q, K, V stand in this order in qkv, and head h owns the columns h·Dh to (h+1)·Dh",
          **TIGHT)
    for name, their_grad, our_grad in zip(("x", "context"), *inputs, strict=False):
        close(our_grad, their_grad, f"{role}: gradient of {name}", **TIGHT)
    for name, their, our in (("qkv.weight", theirs.in_proj_weight, ours.qkv.weight),
                             ("qkv.bias", theirs.in_proj_bias, ours.qkv.bias),
                             ("out.weight", theirs.out_proj.weight, ours.out.weight),
                             ("out.bias", theirs.out_proj.bias, ours.out.bias)):
        close(our.grad, their.grad, f"{role}: gradient of {name}", **TIGHT)


def test_context_equal_to_x_is_self_attention():
    attention, x = Attention(D, H), torch.randn(B, T, D)
    close(attention(x, context=x), attention(x), "cross-attention must use the same three parts of qkv")


@pytest.mark.parametrize("bias", [True, False])
def test_grouped_heads_equal_ordinary_heads_with_repeated_weights(bias):
    d_model, n_heads, n_kv_heads = 10, 6, 3  # D is not H * Dh here: d_head is given
    grouped = Attention(d_model, n_heads, n_kv_heads, d_head=DH, bias=bias)
    ordinary = Attention(d_model, n_heads, d_head=DH, bias=bias)
    with torch.no_grad():
        for ours, theirs in zip(grouped.qkv.parameters(), ordinary.qkv.parameters(), strict=True):
            q, k, v = ours.split([n_heads * DH, n_kv_heads * DH, n_kv_heads * DH])
            k, v = (y.unflatten(0, (n_kv_heads, DH)).repeat_interleave(2, dim=0).flatten(0, 1) for y in (k, v))
            theirs.copy_(torch.cat([q, k, v]))
        ordinary.out.load_state_dict(grouped.out.state_dict())
    x, context = torch.randn(B, T, d_model), torch.randn(B, S, d_model)
    for role in ({}, {"causal": True}, {"context": context, "mask": PADDING}):
        close(grouped(x, **role), ordinary(x, **role), "query heads 2g and 2g + 1 share key-value head g")


def test_grouped_heads_save_weights():
    widths = {n: Attention(24, 6, n).qkv.out_features for n in (6, 3, 1)}
    equal(widths, {6: 72, 3: 48, 1: 32}, "24 columns for the queries, 4 for every key head and every value head")


def test_without_bias_there_is_none():
    attention = Attention(D, H, bias=False)
    equal([name for name, _ in attention.named_parameters()], ["qkv.weight", "out.weight"], "bias=False")


@pytest.mark.parametrize(("sizes", "named"), [((10, 3), "n_heads = 3"), ((12, 4, 3), "n_kv_heads = 3")])
def test_heads_that_do_not_divide_are_refused(sizes, named):
    with pytest.raises(ValueError, match=named):
        Attention(*sizes)


def test_what_a_mask_hides_does_not_matter_and_what_it_shows_does():
    attention, x = Attention(D, H), torch.randn(B, T, D)
    shown, hidden = x.clone(), x.clone()
    shown[1, 1] += 1
    hidden[1, 4] += 1  # a padding token of sentence 1
    before = attention(x, mask=padding_mask(REAL_X))
    after = attention(hidden, mask=padding_mask(REAL_X))
    same(after[1, :4], before[1, :4], "other positions saw a padding token")
    assert not torch.equal(attention(shown, mask=padding_mask(REAL_X))[1, 0], before[1, 0]), (
        "expected position 0 to see the real token 1, but it did not: True = may attend, here the mask is turned round")


# ---- what variants override


class Tilted(Attention):
    """Adds a bias of its own, as T5, DeBERTa and XLNet do."""

    def position_bias(self, q, k):
        self.seen = tuple(q.shape), tuple(k.shape)
        return torch.linspace(-2, 2, q.shape[1] * q.shape[2] * k.shape[2]).view(1, q.shape[1], q.shape[2], k.shape[2])


@pytest.mark.parametrize("options", [{}, {"mask": PADDING}, {"bias": torch.linspace(3, -3, S)[None]}, {"causal": True}],
                         ids=["alone", "mask", "another bias", "causal"])
def test_position_bias_reaches_the_output(options):
    tilted, plain = Tilted(D, H), Attention(D, H)
    plain.load_state_dict(tilted.state_dict())
    x, context = torch.randn(B, T, D), torch.randn(B, S, D)
    came = tilted(x, context, **options)
    own = tilted.position_bias(torch.empty(B, H, T, DH), torch.empty(B, H, S, DH))
    handed = {**options, "bias": own + options.get("bias", 0)}
    close(came, plain(x, context, **handed), "what position_bias returns is added to the scores, and to a given bias")
    assert not torch.allclose(came, plain(x, context, **options)), "position_bias was not used at all"


def test_position_bias_is_given_queries_and_keys():
    tilted = Tilted(24, 6, 2)
    tilted(torch.randn(B, T, 24), torch.randn(B, S, 24))
    equal(tilted.seen, ((B, 6, T, 4), (B, 2, S, 4)), "position_bias(q, k): q (B, H, T, Dh), k (B, Hkv, S, Dh)")


# ---- rotary attention

ROTARY = Rotary(DH, 20, base=50.0)
PLACES = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 19, 3]])  # (B, T)


@pytest.mark.parametrize("n_kv_heads", [None, 6, 3, 2, 1])
@pytest.mark.parametrize("positions", [None, PLACES], ids=["counted", "given"])
def test_rotary_attention_turns_queries_and_keys_but_not_values(n_kv_heads, positions):
    attention, x = RotaryAttention(ROTARY, 10, 6, n_kv_heads, DH, bias=False), torch.randn(B, T, 10)
    groups = n_kv_heads or 6
    w_q, w_k, w_v = attention.qkv.weight.split([6 * DH, groups * DH, groups * DH])
    q, k, v = ((x @ w.T).unflatten(-1, (-1, DH)).transpose(1, 2) for w in (w_q, w_k, w_v))
    expected = attend_explicit_out(ROTARY(q, positions), ROTARY(k, positions), v, causal=True)
    expected = expected.transpose(1, 2).flatten(2) @ attention.out.weight.T
    close(attention(x, causal=True, positions=positions), expected,
          "q and k are turned at the same positions, v is not; query heads share key-value heads in order")


def test_rotary_attention_hears_of_distances_only():
    attention, x = RotaryAttention(ROTARY, D, H), torch.randn(B, T, D)
    counted = torch.arange(T)[None]
    close(attention(x, positions=counted + 15), attention(x), "moving all tokens changes nothing", atol=1e-5)
    moved = (attention(x, positions=counted * 3) - attention(x)).abs().max().item()
    assert moved > 1e-3, f"three times the distance moved the output by {moved:.1e} only: is anything turned?"


def test_layers_may_share_one_rotary():
    layers = nn.ModuleList(RotaryAttention(ROTARY, D, H) for _ in range(2))
    assert layers[0].rotary is layers[1].rotary, "one table of angles is enough for all layers"
    equal({name.split(".")[1] for name in layers.state_dict()}, {"qkv", "out"}, "no angles in a checkpoint")


def test_plain_attention_does_not_look_at_positions():
    attention, x = Attention(D, H), torch.randn(B, T, D)
    same(attention(x, positions=PLACES), attention(x), "only variants look at positions")


# ---- dropout


def test_dropout_acts_in_training_only():
    sure, unsure = twins()[1], twins(dropout=0.5)[1]
    unsure.load_state_dict(sure.state_dict())
    x = torch.randn(B, T, D)
    same(unsure.eval()(x), sure(x), "dropout must be off after model.eval()")
    assert not torch.equal(unsure.train()(x), unsure(x)), "expected two training passes to differ, they are the same"


# ---- keys and values that were worked out once

MEMORY_MASKS = pytest.mark.parametrize("options", [{}, {"mask": PADDING}, {"bias": torch.linspace(3, -3, S)[None]}],
                                       ids=["alone", "padding", "bias"])


@MEMORY_MASKS
@pytest.mark.parametrize("how", [{}, {"bias": False}, {"n_kv_heads": 1}, {"d_head": 5}, {"scale": 1.0}], ids=str)
def test_keys_values_once_equal_the_memory_each_time(how, options):
    attention, x, memory = Attention(D, H, **how), torch.randn(B, T, D), torch.randn(B, S, D)
    keys, values = attention.keys_values(memory)
    d_head, n_kv_heads = how.get("d_head", DH), how.get("n_kv_heads", H)
    for name, y in (("keys", keys), ("values", values)):
        equal(tuple(y.shape), (B, n_kv_heads, S, d_head), f"{name} (B, Hkv, S, Dh)")
    came = attention(x, context=(keys, values), **options)
    close(came, attention(x, context=memory, **options), "context=(k, v) is context=memory, with the work done before")
    assert not torch.allclose(came, attention(x, context=(values, keys), **options)), "keys first, then values"


@MEMORY_MASKS
def test_keys_values_have_the_gradients_of_the_memory(options):
    attention, at = Attention(D, H), torch.randn(B, T, D)
    x, memory = torch.randn(B, T, D, requires_grad=True), torch.randn(B, S, D, requires_grad=True)
    wanted = {"x": x, "memory": memory, **dict(attention.named_parameters())}
    came, expected = (torch.autograd.grad((attention(x, context=context, **options) * at).sum(), wanted.values())
                      for context in (attention.keys_values(memory), memory))
    for name, a, b in zip(wanted, came, expected):
        close(a, b, f"gradient of {name}: keys and values are not cut off from what they were worked out of")


def test_keys_values_of_each_head_by_the_formula():
    attention, memory = Attention(10, 6, 2, DH), torch.randn(B, S, 10)
    _, w_k, w_v = attention.qkv.weight.split([6 * DH, 2 * DH, 2 * DH])
    _, b_k, b_v = attention.qkv.bias.split([6 * DH, 2 * DH, 2 * DH])
    for came, w, b in zip(attention.keys_values(memory), (w_k, w_v), (b_k, b_v)):
        for head in range(2):
            rows = slice(head * DH, (head + 1) * DH)
            close(came[:, head], memory @ w[rows].T + b[rows], f"head {head} owns the rows {head * DH} and on")


# ---- the scale


@pytest.mark.parametrize("role", [{}, {"causal": True}, {"context": torch.linspace(-2, 2, B * S * D).view(B, S, D)}],
                         ids=["self", "causal", "cross"])
def test_scores_are_multiplied_by_the_scale(role):
    attention, x = Attention(D, H, scale=0.3), torch.randn(B, T, D)
    q, k, v = attention.project(x, role.get("context"))
    out = attend_explicit(q, k, v, causal=role.get("causal", False), scale=0.3)[0]
    close(attention(x, **role), attention.out(out.transpose(1, 2).flatten(2)), "softmax(scale Q Kᵀ) V")


def test_a_scale_of_one_is_the_usual_one_with_smaller_queries():
    usual, plain, x = Attention(D, H), Attention(D, H, scale=1.0), torch.randn(B, T, D)
    plain.load_state_dict(usual.state_dict())
    assert not torch.allclose(plain(x), usual(x), atol=1e-4), "scale=1.0 should change something"
    with torch.no_grad():
        for p in plain.qkv.parameters():
            p[:D] /= math.sqrt(DH)  # the rows of the queries
    close(plain(x), usual(x), "scale=1.0 leaves the scores alone; not given, they are divided by √Dh")
