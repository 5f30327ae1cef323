"""Rewards, returns and advantages of ragged answers, against brute force."""

import pytest
import torch

from rlhf.advantages import gae, masked_mean, token_rewards, whiten
from rlhf.kl import k3
from tests.explain import close, same

LENGTHS = torch.tensor([5, 1, 3, 7])
MASK = torch.arange(7) < LENGTHS.unsqueeze(1)


def noise() -> torch.Tensor:
    """(B, L) double, with rubbish behind the answers: nothing may read it."""
    return torch.where(MASK, torch.randn(4, 7, dtype=torch.double), torch.full((4, 7), 1e6, dtype=torch.double))


def test_the_rewards_of_an_answer_add_up_to_score_minus_beta_kl():
    scores, logp, ref = torch.randn(4, dtype=torch.double), noise(), noise() * 0.5
    rewards = token_rewards(scores, logp, ref, MASK, beta=0.3)
    k = (logp - ref).masked_fill(~MASK, 0.0).sum(1)
    close(rewards.sum(1), scores - 0.3 * k, "sum of R_t = score - beta x sum of k1", rtol=1e-12)
    same(rewards[~MASK], torch.zeros(int((~MASK).sum()), dtype=torch.double), "no reward behind EOS")


def test_the_score_lands_on_the_last_real_token():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    zero = torch.zeros(4, 7)
    rewards = token_rewards(scores, zero, zero, MASK, beta=0.3)
    expected = torch.zeros(4, 7)
    expected[[0, 1, 2, 3], [4, 0, 2, 6]] = scores
    same(rewards, expected, "the score belongs to EOS: not to the padding behind it, not to the token before it")


def test_another_penalty_can_be_put_in():
    logp, ref = torch.full((4, 7), -1.0), torch.full((4, 7), -1.5)
    came = token_rewards(torch.zeros(4), logp, ref, MASK, 2.0, penalty=k3)
    close(came[MASK], (-2.0 * k3(logp, ref))[MASK], "the estimator that is asked for")


def brute_force(rewards, values, gamma: float, lam: float) -> torch.Tensor:
    """Eq. 16 as it is printed: for every t the sum over all later deltas."""
    advantages = torch.zeros_like(rewards)
    for row, n in enumerate(LENGTHS.tolist()):
        v = [*values[row, :n].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(n):
            advantages[row, t] = sum((gamma * lam) ** l * deltas[t + l] for l in range(n - t))
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (1.0, 0.0), (0.8, 1.0)])
def test_gae_equals_brute_force_on_ragged_rows(gamma, lam):
    rewards, values = noise(), noise()
    advantages, returns = gae(rewards, values, MASK, gamma, lam)
    expected = brute_force(rewards, values, gamma, lam)
    close(advantages, expected, "GAE; what stands behind an answer is no part of it", rtol=1e-10)
    close(returns[MASK], (expected + values)[MASK], "return = advantage + value", rtol=1e-10)
    same(returns[~MASK], torch.zeros(int((~MASK).sum()), dtype=torch.double), "no return behind the answer")


def test_gae_by_hand():
    # one answer of two tokens: delta_1 = 2 - .5 = 1.5, delta_0 = 1 + .5 - .25 = 1.25, A_0 = 1.25 + .5 x 1.5
    rewards, values = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.5]])
    advantages, returns = gae(rewards, values, torch.ones(1, 2).bool(), 1.0, 0.5)
    close(advantages, torch.tensor([[2.0, 1.5]]), "A_0 = delta_0 + lam A_1")
    close(returns, torch.tensor([[2.25, 2.0]]), "A + V")


def test_the_ends_of_lambda():
    rewards, values = noise(), noise()
    to_go = rewards.masked_fill(~MASK, 0.0).flip(1).cumsum(1).flip(1)
    at_one, _ = gae(rewards, values, MASK, 1.0, 1.0)
    close(at_one[MASK], (to_go - values)[MASK], "lam = 1: what came minus what was expected", rtol=1e-10)
    v_next = torch.cat([values.masked_fill(~MASK, 0.0)[:, 1:], torch.zeros(4, 1, dtype=torch.double)], dim=1)
    at_zero, _ = gae(rewards, values, MASK, 1.0, 0.0)
    close(at_zero[MASK], (rewards + v_next - values)[MASK], "lam = 0: the surprise of one step", rtol=1e-10)


def test_whitening_reads_the_real_tokens_only():
    x = noise()
    white = whiten(x, MASK)
    close(masked_mean(white, MASK), torch.tensor(0.0, dtype=torch.double), "mean 0 over the real tokens", atol=1e-12)
    close(masked_mean(white.square(), MASK), torch.tensor(1.0, dtype=torch.double), "variance 1 over them", rtol=1e-6)
    same(white[~MASK], torch.zeros(int((~MASK).sum()), dtype=torch.double), "0 behind the answers")
    padded = whiten(torch.nn.functional.pad(x, (0, 3), value=77.0), torch.nn.functional.pad(MASK, (0, 3)))
    close(padded[:, :7], white, "more padding changed an advantage", rtol=1e-12)


def test_the_mean_counts_every_token_once():
    x = torch.tensor([[1.0, 9.0, 9.0], [2.0, 3.0, 6.0]])
    mask = torch.tensor([[True, False, False], [True, True, True]])
    close(masked_mean(x, mask), torch.tensor(3.0), "(1 + 2 + 3 + 6) / 4; the mean of the means would be 2.33")
