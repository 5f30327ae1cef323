"""KL estimators by enumeration, their gradients as rewards and as losses, and the controller of beta."""

import math

import pytest
import torch

from rlhf.kl import k1, k2, k3, next_beta
from tests.explain import close

LOGITS = torch.tensor([0.3, -1.2, 0.9, 0.1], dtype=torch.double)
REF = torch.tensor([-0.4, 0.5, 0.2, 0.0], dtype=torch.double).log_softmax(0)


def expectation(of: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return (logits.softmax(0) * of).sum()


def exact_kl(logits: torch.Tensor) -> torch.Tensor:
    log_p = logits.log_softmax(0)
    return expectation(log_p - REF, logits)


def test_by_hand():
    logp, ref = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    close(k1(logp, ref), torch.tensor([math.log(2)]), "log pi - log ref, not the other way round")
    close(k2(logp, ref), torch.tensor([math.log(2) ** 2 / 2]), "half the square")
    close(k3(logp, ref), torch.tensor([0.5 - 1 + math.log(2)]), "ref / pi - 1 + log(pi / ref)")


def test_in_the_mean_k1_and_k3_are_the_kl_and_k2_is_not():
    log_p, kl = LOGITS.log_softmax(0), exact_kl(LOGITS)
    for estimator in (k1, k3):
        close(expectation(estimator(log_p, REF), LOGITS), kl, f"{estimator.__name__} is unbiased", rtol=1e-12)
    assert abs(expectation(k2(log_p, REF), LOGITS) - kl) > 0.01, "k2 is biased; that is known"
    assert k1(log_p, REF).min() < 0 <= min(k2(log_p, REF).min(), k3(log_p, REF).min()), "only k1 is ever negative"


def gradient(scalar: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(scalar, logits)[0]


def test_only_k1_in_the_reward_has_the_gradient_of_the_kl():
    """E[k grad log pi], what a policy gradient makes of a penalty in the reward, beside grad KL."""
    logits = LOGITS.clone().requires_grad_()
    true = gradient(exact_kl(logits), logits)

    def as_reward(estimator) -> torch.Tensor:
        log_p = logits.log_softmax(0)
        return gradient((logits.softmax(0).detach() * estimator(log_p, REF).detach() * log_p).sum(), logits)

    close(as_reward(k1), true, "k1 in the reward is exact", rtol=1e-12)
    wrong = as_reward(k3)
    assert (wrong - true).norm() / true.norm() > 0.5, "k3 in the reward is known to point elsewhere"


def test_as_a_loss_k1_has_no_gradient_at_all():
    logits = LOGITS.clone().requires_grad_()
    log_p = logits.log_softmax(0)
    p = logits.softmax(0).detach()  # the tokens are drawn, and the draw is not differentiated
    close(gradient((p * k1(log_p, REF)).sum(), logits), torch.zeros(4, dtype=torch.double), "E[grad log pi] = 0",
          atol=1e-12)
    true = gradient(exact_kl(logits), logits)
    close(gradient((p * k2(logits.log_softmax(0), REF)).sum(), logits), true, "k2 as a loss is exact", rtol=1e-12)


@pytest.mark.parametrize(("kl", "expected"), [(6.0, 0.1), (6.6, 0.1 * 1.01), (5.4, 0.1 * 0.99), (60.0, 0.1 * 1.02),
                                              (0.0, 0.1 * 0.98), (-3.0, 0.1 * 0.98)])
def test_the_controller_by_hand(kl, expected):
    came = next_beta(0.1, kl, target=6.0, n_episodes=100, horizon=1000)
    close(torch.tensor(came), torch.tensor(expected), "beta (1 + clip(kl / target - 1, -.2, .2) n / horizon)")
