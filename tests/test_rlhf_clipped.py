"""The clipped loss: its four cases, its gradient at ratio 1, and what its figures mean."""

import math

import pytest
import torch

from rlhf.clipped import explained_variance, policy_loss, update_size, value_loss
from tests.explain import close

ONE = torch.ones(1, 1, dtype=torch.bool)
MASK = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])


@pytest.mark.parametrize(("advantage", "ratio", "loss", "moves"), [
    (2.0, 1.1, -2.2, True), (2.0, 1.5, -2.4, False), (2.0, 0.5, -1.0, True),
    (-2.0, 0.9, 1.8, True), (-2.0, 0.5, 1.6, False), (-2.0, 1.5, 3.0, True),
])
def test_the_table_of_clipping(advantage, ratio, loss, moves):
    """Good tokens are not pushed above 1.2, bad ones not below 0.8; the way back is always open."""
    logp = torch.tensor([[math.log(ratio) - 1.0]], requires_grad=True)
    came = policy_loss(logp, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), ONE, 0.2)
    close(came.detach(), torch.tensor(loss), "max(-A ratio, -A clip(ratio))")
    came.backward()
    close(logp.grad, torch.tensor([[-advantage * ratio if moves else 0.0]]), "the gradient on this side of the clip")


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
    logp = torch.randn(3, 3, requires_grad=True)
    advantages = torch.randn(3, 3)
    ppo, = torch.autograd.grad(policy_loss(logp, logp.detach(), advantages, MASK), logp)
    reinforce, = torch.autograd.grad(-(advantages * logp)[MASK].sum() / MASK.sum(), logp)
    close(ppo, reinforce, "grad PPO = - mean of A grad log pi", rtol=0, atol=0)


def test_what_stands_behind_an_answer_has_no_say():
    def loss(fill: float) -> torch.Tensor:
        torch.manual_seed(1)
        rows = [torch.randn(3, 3).masked_fill(~MASK, fill) for _ in range(3)]
        return torch.stack([policy_loss(*rows, MASK), value_loss(rows[0], rows[1], MASK),
                            explained_variance(rows[0], rows[1], MASK), *update_size(*rows, MASK, 0.2).values()])

    close(loss(3.0), loss(0.0), "padding entered a loss or a figure")


def test_value_loss_by_hand():
    values, returns = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 4.0]])
    mask = torch.tensor([[True, True]])
    close(value_loss(values, returns, mask), torch.tensor(1.25), "(4 + 1) / 2 tokens / 2")
    old = torch.tensor([[0.5, 4.9]])  # the first may go to 0.7 only: (0.7 - 3)² = 5.29; the second is free
    close(value_loss(values, returns, mask, old), torch.tensor((5.29 + 1) / 4), "the larger of the two errors")


def test_figures_by_hand():
    old = torch.zeros(1, 4)
    logp = torch.log(torch.tensor([[1.5, 1.5, 0.5, 1.0]]))
    advantages = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    came = update_size(logp, old, advantages, torch.ones(1, 4).bool(), 0.2)
    close(came["policy/clipfrac_avg"], torch.tensor(0.5), "the first and the third are held by the clip")
    close(came["val/ratio"], torch.tensor(1.125), "mean ratio")
    expected = sum(r - 1 - math.log(r) for r in (1.5, 1.5, 0.5, 1.0)) / 4
    close(came["policy/approxkl_avg"], torch.tensor(expected), "(ratio - 1) - log ratio")


def test_explained_variance():
    returns = torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 0.0], [5.0, 99.0, 99.0]])
    close(explained_variance(returns, returns, MASK), torch.tensor(1.0), "a value head that foresees all")
    close(explained_variance(torch.full((3, 3), 7.0), returns, MASK), torch.tensor(0.0), "a constant explains nothing")
    assert explained_variance(-returns, returns, MASK) < -1, "worse than a constant"
