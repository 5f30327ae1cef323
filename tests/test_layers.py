"""Norms and feed-forward networks: by hand, against torch, and against their formulas."""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common.layers import GatedFeedForward, RMSNorm, Stacked
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
