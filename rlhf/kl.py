"""How far a policy has moved from its reference, estimated from what it wrote itself; and what a step away costs.

    KL(pi || ref) = E[log pi(y) - log ref(y)], y written by pi

With d = log pi - log ref of one token there are three estimators (Schulman 2020, joschu.net/blog/kl-approx.html):

    k1 = d                    exact in the mean; single values may be negative
    k2 = d² / 2               always positive, biased
    k3 = exp(-d) - 1 + d      always positive, and exact in the mean

That k3 is exact in the mean and varies less than k1 tempts one to subtract it from the reward. That is wrong: the
gradient of an expectation is not the expectation of a gradient. With k1 in the reward the policy gradient is exactly
the one of the KL; with k3 it points elsewhere (closed_form.py shows where that ends).
"""

import torch
from torch import Tensor


def k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """log pi - log ref, token by token. Its sum over an answer is the estimate for that answer."""
    return logp - ref_logp


def k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    return (logp - ref_logp).square() / 2


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    d = logp - ref_logp
    return torch.exp(-d) - 1 + d


def next_beta(beta: float, kl: float, target: float, n_episodes: int, horizon: int) -> float:
    """The weight of the KL after n_episodes more answers, steered so that the KL comes to `target` nats an answer.

    beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon): the controller of Ziegler et al. 2019 (arXiv:1909.08593,
    section 2.2) as their code has it, where n / horizon stands for the paper's constant. kl:
    the mean over answers of the sum over tokens; a mean over tokens would be compared with a target twenty times as
    large. The runs of this project keep beta fixed, so that a figure belongs to a beta.

    >>> next_beta(0.1, kl=9.0, target=6.0, n_episodes=128, horizon=1280)  # too far away: 0.2 x 0.1 dearer
    0.10200000000000001
    """
    error = min(0.2, max(-0.2, kl / target - 1))
    return beta * (1 + error * n_episodes / horizon)
