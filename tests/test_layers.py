"""Norms and feed-forward networks: by hand, against torch, and against their formulas."""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common.layers import FeedForward, GatedFeedForward, RMSNorm, Stacked
from tests.explain import close, equal, same

B, T, D, D_FF = 2, 3, 6, 10


# ------------------------------------------------ RMSNorm


def random_norms(eps: float) -> tuple[RMSNorm, nn.RMSNorm]:
    """Ours and torch's with the same weights; they begin as ones, which would hide a lost one."""
    ours, theirs = RMSNorm(D, eps), nn.RMSNorm(D, eps)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_rms_norm_by_hand():
    norm = RMSNorm(4, eps=1.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, -1, 0.5]))
    # squares 1, 9, 25, 25: mean 15, and 1 for eps makes 16, root 4; the mean of x, 3.5, plays no part
    close(norm(torch.tensor([1.0, 3, 5, 5])), torch.tensor([0.25, 1.5, -1.25, 0.625]),
          "x / √(mean(x²) + eps) · weight: no mean is subtracted, eps stands under the root")


def test_rms_norm_begins_with_weights_of_one_and_has_no_bias():
    equal([(name, p.tolist()) for name, p in RMSNorm(3).named_parameters()], [("weight", [1.0, 1.0, 1.0])],
          "a gain of 1 and nothing else")


@pytest.mark.parametrize("eps", [1e-6, 0.3])
def test_rms_norm_equals_torch(eps):
    ours, theirs = random_norms(eps)
    x, at = torch.randn(B, T, D) + 2, torch.randn(B, T, D)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    came, expected = ours(a), theirs(b)
    close(came, expected, "eps under the root, the mean over the last axis only")
    (came * at).sum().backward()
    (expected * at).sum().backward()
    close(a.grad, b.grad, "gradient of x: the root is part of it, nothing is detached")
    close(ours.weight.grad, theirs.weight.grad, "gradient of weight")


def test_rms_norm_uses_its_eps():
    small = torch.full((4,), 1e-3)  # mean square 1e-6
    close(RMSNorm(4, eps=3e-6)(small), torch.full((4,), 0.5), "√(1e-6 + 3e-6) = 2e-3")
    close(RMSNorm(4)(small), torch.full((4,), 0.5 ** 0.5), "eps is 1e-6 when not given")
    same(RMSNorm(4)(torch.zeros(4)), torch.zeros(4), "eps keeps zeros from becoming NaN")


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    norm, x = random_norms(1e-6)[0].bfloat16(), (torch.randn(50, D) * 3).bfloat16()
    came = norm(x)
    equal(came.dtype, torch.bfloat16, "what comes in as bfloat16 goes out as bfloat16")
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    same(came, exact.bfloat16() * norm.weight, "square, sum and divide in float32, then round once")
    coarse = (x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()) * norm.weight
    assert not came.equal(coarse), "this case should tell bfloat16 from float32, it does not"


# ------------------------------------------------ the gated feed-forward network


@pytest.mark.parametrize("activation", [F.silu, F.gelu], ids=["SwiGLU", "GEGLU"])
def test_gated_feed_forward_equals_its_formula(activation):
    network = GatedFeedForward(D, D_FF, activation)
    x, at = torch.randn(B, T, D, requires_grad=True), torch.randn(B, T, D)
    w, v = network.gate_up.weight[:D_FF], network.gate_up.weight[D_FF:]
    expected = (activation(x @ w.T) * (x @ v.T)) @ network.down.weight.T  # Shazeer 2020, eq. 6
    came = network(x)
    mistake = "(act(x W) ⊙ (x V)) W₂: the activation is on the gate, which stands first"
    close(came, expected, mistake)
    wanted = (x, network.gate_up.weight, network.down.weight)
    for name, a, b in zip(("x", "gate_up", "down"), torch.autograd.grad((came * at).sum(), wanted),
                          torch.autograd.grad((expected * at).sum(), wanted)):
        close(a, b, f"gradient of {name}: {mistake}")


def test_gated_feed_forward_by_hand():
    network = GatedFeedForward(2, 2, F.relu)
    with torch.no_grad():
        network.gate_up.weight.copy_(torch.tensor([[1.0, 0], [0, -1], [0, 1], [1, 0]]))  # gate, gate, up, up
        network.down.weight.copy_(torch.tensor([[1.0, 100], [2, 100]]))
    # gate = relu(2, -3) = (2, 0), up = (3, 2), product (6, 0): the second gate is shut
    same(network(torch.tensor([2.0, 3])), torch.tensor([6.0, 12]), "act(gate) * up, then down")


def test_gated_feed_forward_has_no_biases():
    shapes = {name: tuple(p.shape) for name, p in GatedFeedForward(D, D_FF, F.silu).named_parameters()}
    equal(shapes, {"gate_up.weight": (2 * D_FF, D), "down.weight": (D, D_FF)}, "three matrices, two of them stacked")


# ------------------------------------------------ several maps in one matrix


@pytest.mark.parametrize("bias", [True, False])
def test_stacked_is_several_maps_side_by_side(bias):
    stacked, parts = Stacked(D, (4, 2, 3), bias=bias), (4, 2, 3)
    equal(stacked.parts, parts, "parts: how many rows each map has")
    equal({name: tuple(p.shape) for name, p in stacked.named_parameters()},
          {"weight": (9, D), "bias": (9,)} if bias else {"weight": (9, D)}, "one below the other")
    x, start = torch.randn(B, T, D), 0
    for came, width in zip(stacked(x).split(parts, dim=-1), parts):
        alone = nn.Linear(D, width, bias=bias)
        with torch.no_grad():
            for name, p in alone.named_parameters():
                p.copy_(getattr(stacked, name)[start:start + width])
        close(came, alone(x), f"rows {start} to {start + width} are a map by themselves")
        start += width


@pytest.mark.parametrize("bias", [True, False])
def test_some_parts_of_a_stack_are_asked_alone(bias):
    stacked, parts = Stacked(D, (4, 2, 3), bias=bias), (4, 2, 3)
    x = torch.randn(B, T, D)
    whole = stacked(x).split(parts, dim=-1)
    for first, end in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)):
        close(stacked.some(x, first, end), torch.cat(whole[first:end], dim=-1),
              f"some(x, {first}, {end}) is parts {first} to {end - 1}, with their biases, side by side")


@pytest.mark.parametrize("bias", [True, False])
def test_parts_that_are_not_asked_get_no_gradient(bias):
    stacked, at = Stacked(D, (4, 2, 3), bias=bias), torch.randn(B, T, 5)
    x = torch.randn(B, T, D, requires_grad=True)
    wanted = (x, *stacked.parameters())
    came = torch.autograd.grad((stacked.some(x, 1, 3) * at).sum(), wanted)
    expected = torch.autograd.grad((stacked(x)[..., 4:] * at).sum(), wanted)
    for name, a, b in zip(("x", "weight", "bias"), came, expected):
        close(a, b, f"gradient of {name}")
    same(came[1][:4], torch.zeros(4, D), "rows of part 0 were not asked")


# ------------------------------------------------ dropout inside a feed-forward network


def networks(dropout: float) -> dict[str, nn.Module]:
    """Both kinds, D wide inside, with the last map the identity: what comes out is the inner values."""
    made = {"plain": FeedForward(D, D, F.gelu, dropout=dropout), "gated": GatedFeedForward(D, D, F.gelu, dropout)}
    for network in made.values():
        with torch.no_grad():
            network.down.weight.copy_(torch.eye(D))
            if network.down.bias is not None:
                network.down.bias.zero_()
    return made


@pytest.mark.parametrize("kind", ["plain", "gated"])
def test_dropout_drops_inner_values(kind):
    network, x = networks(0.25)[kind], torch.randn(200, D)
    sure = network.eval()(x)
    came = network.train()(x)
    kept = came != 0
    close(came[kept], sure[kept] / 0.75, "a value is dropped after the activation, once, or divided by 1 - p, so that "
                                         "the mean stays")
    share = kept.float().mean().item()
    assert abs(share - 0.75) < 5 * (0.25 * 0.75 / kept.numel()) ** 0.5, f"expected 75 % kept, came {share:.1%}"


@pytest.mark.parametrize("make", [FeedForward, GatedFeedForward], ids=["plain", "gated"])
def test_dropout_is_before_the_last_map(make):
    network, x = make(D, 1, F.gelu, dropout=0.5), torch.randn(50, D)  # one inner value: it goes, or all of it stays
    bias = network.down.bias if make is FeedForward else 0
    sure = network.eval()(x) - bias
    came = network.train()(x) - bias
    dropped = came.abs().amax(-1) < 1e-7
    close(came[~dropped], 2 * sure[~dropped], "what comes out of the last map is not dropped, nor is its bias")
    assert 0 < dropped.sum() < 50, f"expected about half of 50 inner values dropped, came {dropped.sum()}"


@pytest.mark.parametrize("network", [FeedForward(D, D_FF, F.gelu), GatedFeedForward(D, D_FF, F.gelu)],
                         ids=["plain", "gated"])
def test_without_a_rate_nothing_is_dropped(network):
    x = torch.randn(B, T, D)
    same(network.train()(x), network.eval()(x), "dropout is 0 when not given, as in BERT, GPT and LLaMA")


def test_plain_feed_forward_with_and_without_biases():
    for bias in (True, False):
        network, x = FeedForward(D, D_FF, F.gelu, bias=bias), torch.randn(B, T, D)
        names = [name for name, _ in network.named_parameters()]
        equal(names, [f"{part}.{kind}" for part in ("up", "down") for kind in ("weight", "bias")[:1 + bias]], "bias")
        inner = F.gelu(x @ network.up.weight.T + (network.up.bias if bias else 0))
        close(network(x), inner @ network.down.weight.T + (network.down.bias if bias else 0), "act(x W₁ + b₁) W₂ + b₂")
