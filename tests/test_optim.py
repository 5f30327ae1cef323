"""The learning-rate schedule and Muon: by hand, against a loop, and against torch's own."""

import copy

import pytest
import torch
import torch.nn as nn

from common.optim import Muon, matrices_and_rest, orthogonalise, trapezoid
from minibert import BertConfig, BertForPreTraining
from tests.explain import close, equal, same

# ---- the schedule


def test_the_rate_rises_stays_and_falls():
    came = [trapezoid(step, steps=10, warmup=2, decay=0.4) for step in range(10)]
    close(torch.tensor(came), torch.tensor([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
          "warm-up: (step + 1) / warmup; decay: what is left, divided by the steps that go down")


def test_the_schedule_of_the_paper_falls_from_the_end_of_the_warmup():
    came = [trapezoid(step, steps=8, warmup=4, decay=1.0) for step in range(8)]
    close(torch.tensor(came), torch.tensor([2, 4, 6, 5, 4, 3, 2, 1]) / 8, "decay = 1 goes down over all steps")


def test_without_decay_the_rate_stays():
    equal([trapezoid(step, steps=5, warmup=0, decay=0.0) for step in range(5)], [1.0] * 5, "nothing goes up or down")


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_every_step_has_a_rate_above_zero_and_at_most_one(warmup, decay):
    for step in range(20):
        factor = trapezoid(step, 20, warmup, decay)
        assert 0 < factor <= 1, f"step {step}: expected a factor in (0, 1], came {factor}: a step with 0 is wasted"


# ---- orthogonalise

SHAPES = {"square": (6, 6), "wide": (5, 11), "tall": (13, 4), "one row": (1, 7)}


def singular_values(x):
    return torch.linalg.svdvals(x.double())


@pytest.mark.parametrize("name", SHAPES)
def test_all_directions_come_out_with_the_same_strength(name):
    x = torch.randn(3, *SHAPES[name])
    values = singular_values(orthogonalise(x))
    assert (values > 0.6).all() and (values < 1.3).all(), \
        f"expected singular values near 1, came {values.min():.3f} to {values.max():.3f}"
    assert SHAPES[name] == (1, 7) or singular_values(x).max() > 1.5, "the input should not be orthogonal already"


@pytest.mark.parametrize("name", SHAPES)
def test_the_directions_themselves_stay(name):
    """U S Vᵀ becomes U S' Vᵀ: what is left after taking U and V away is diagonal."""
    x = torch.randn(*SHAPES[name])
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    rest = u.mT @ orthogonalise(x[None])[0] @ vt.mT
    close(rest - torch.diag(rest.diagonal()), torch.zeros_like(rest), "the iteration is odd: x, x xᵀ x ...", atol=1e-5)
    assert (rest.diagonal() > 0).all(), "the signs of the directions should stay"


@pytest.mark.parametrize("name", SHAPES)
def test_a_stack_equals_one_matrix_at_a_time(name):
    x = torch.randn(5, *SHAPES[name]) * torch.tensor([1e-3, 1.0, 50.0, 7.0, 0.1])[:, None, None]
    one_by_one = torch.stack([orthogonalise(matrix[None])[0] for matrix in x])
    close(orthogonalise(x), one_by_one, "each matrix is divided by its own norm, not by that of the stack")


def test_the_size_of_the_gradient_does_not_matter():
    x = torch.randn(2, 4, 6)
    close(orthogonalise(100 * x), orthogonalise(x), "divide by the norm first")


def test_a_zero_gradient_stays_zero():
    same(orthogonalise(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5), "0 / 0 is NaN: the norm gets a small addend")


# ---- Muon


def newton_schulz(x: float) -> float:
    """Five rounds for one singular value, written out."""
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    return x


def test_two_steps_by_hand():
    """Diagonal matrices: the singular values are the entries, so all of Muon can be worked on two numbers."""
    p = nn.Parameter(torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    optimizer = Muon([p], lr=0.1, momentum=0.9, weight_decay=0.5)
    weights, velocity = [2.0, -1.0], [0.0, 0.0]
    for grads in ([3.0, 4.0], [-1.0, 2.0]):
        p.grad = torch.diag(torch.tensor(grads))
        optimizer.step()
        velocity = [0.9 * v + 0.1 * g for v, g in zip(velocity, grads, strict=True)]
        ahead = [0.1 * g + 0.9 * v for v, g in zip(velocity, grads, strict=True)]  # Nesterov
        norm = (ahead[0] ** 2 + ahead[1] ** 2) ** 0.5
        update = [newton_schulz(a / norm) for a in ahead]
        weights = [w * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 2**0.5 * u for w, u in zip(weights, update, strict=True)]
        close(p.detach(), torch.diag(torch.tensor(weights)),
              "momentum, Nesterov, orthogonalise, decay by lr · weight_decay, step by lr · 0.2 √(longer side)")


def test_muon_moves_as_torch_does():
    """torch.optim.Muon with the same settings; it iterates five times in bfloat16 (8 bits), hence 3 %."""
    shapes = [(12, 12), (12, 20), (20, 12), (12, 20)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = copy.deepcopy(ours)
    start = copy.deepcopy(ours)
    first = Muon(ours, lr=0.02, momentum=0.95)
    second = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, nesterov=True, weight_decay=0.0,
                              adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        first.step()
        second.step()
    for p, q, x in zip(ours, theirs, start, strict=True):
        a, b = (p - x).flatten(), (q - x).flatten()
        error = ((a - b).norm() / b.norm()).item()
        assert error < 0.03, f"{tuple(p.shape)}: moved {error:.2%} off torch's way; momentum or the scale of the step?"


def test_each_shape_is_scaled_by_its_longer_side():
    for shape in ((4, 4), (3, 12), (12, 3)):
        p = nn.Parameter(torch.zeros(shape))
        p.grad = torch.randn(shape)
        Muon([p], lr=1.0).step()
        u = orthogonalise(p.grad[None])[0]
        close(p.detach(), -0.2 * max(shape) ** 0.5 * u, "0.2 √max(rows, columns): Liu et al. 2025, equation 4")


def test_a_parameter_without_a_gradient_stays():
    p = nn.Parameter(torch.ones(3, 4))
    Muon([p], lr=1.0, weight_decay=0.1).step()
    same(p.detach(), torch.ones(3, 4), "what took no part in the loss is not moved")


def test_a_saved_optimizer_goes_on_as_if_never_stopped():
    grads = [torch.randn(3, 5) for _ in range(6)]

    def run(p, optimizer, grads):
        for grad in grads:
            p.grad = grad.clone()
            optimizer.step()

    p = nn.Parameter(torch.ones(3, 5))
    whole = Muon([p], lr=0.1)
    run(p, whole, grads[:3])
    q = nn.Parameter(p.detach().clone())
    resumed = Muon([q], lr=99.0)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    run(p, whole, grads[3:])
    run(q, resumed, grads[3:])
    same(q.detach(), p.detach(), "state_dict must hold the momentum and the learning rate")


# ---- who gets which parameter


@pytest.fixture
def bert():
    return BertForPreTraining(BertConfig(vocab_size=37, d_model=12, n_layers=2, n_heads=3, d_ff=20, max_len=11))


def test_every_parameter_has_exactly_one_optimizer(bert):
    matrices, rest = matrices_and_rest(bert, ".blocks.", "mlm.dense")
    came = sorted(id(p) for p in matrices + rest)
    equal(came, sorted({id(p) for p in bert.parameters()}), "each parameter once; the tied embedding once, not twice")


def test_muon_gets_the_matrices_between_hidden_states_and_nothing_else(bert):
    names = {id(p): name for name, p in bert.named_parameters()}
    came = sorted(names[id(p)] for p in matrices_and_rest(bert, ".blocks.", "mlm.dense")[0])
    expected = sorted(f"bert.encoder.blocks.{i}.{part}.weight" for i in range(2)
                      for part in ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down"))
    equal(came, [*expected, "mlm.dense.weight"], "embeddings, heads, norms and biases are AdamW's")
