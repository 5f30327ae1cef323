"""From the score of an answer to what each of its tokens is worth: rewards, returns, advantages. All (B, L).

`mask` (B, L), bool: True = a token of the answer, EOS included. Behind it all results are 0. V_t is the value of the
state before token t is written: what the value head expects when it does not know yet which token comes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rlhf.kl import k1


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over all tokens of the batch: each counts the same, whichever answer it is from."""
    return (x * mask).sum() / mask.sum()


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """(x - mean) / standard deviation, both over the real tokens of the batch (variance with 1/N); 0 elsewhere.

    Padding is left out before the mean is taken, and set to 0 after it is subtracted.
    """
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean).square(), mask)
    return ((x - mean) * torch.rsqrt(variance + 1e-8)).masked_fill(~mask, 0.0)


def token_rewards(scores: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, beta: float,
                  penalty: Callable[[Tensor, Tensor], Tensor] = k1) -> Tensor:
    """R_t = -beta (log pi(y_t) - log ref(y_t)), and on the last token of the answer the score as well.

    scores (B,); logp, ref_logp (B, L). Ziegler et al. 2019, section 2, eq. 2, token by token. Summed over an answer
    this is score - beta x log(pi / ref): with gamma = 1 the return is exactly what is to be maximised. The score stands
    at the last token of the answer, EOS where it has one; some libraries put it on the padding behind EOS, which has to
    be learned as a state of its own. One token's log pi - log ref (k1) is one sample of the KL, sometimes negative; its
    mean is the KL.
    penalty: another estimator of rlhf/kl.py, to see what becomes of it.
    """
    rewards = (-beta * penalty(logp, ref_logp)).masked_fill(~mask, 0.0)
    last = mask.sum(dim=1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores.unsqueeze(1).to(rewards.dtype))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438, eq. 16): advantages and returns.

        delta_t = R_t + gamma V_{t+1} - V_t,  V = 0 behind the last token
        A_t     = delta_t + gamma lam A_{t+1} = the sum over l of (gamma lam)^l delta_{t+l}
        return  = A_t + V_t, which the value head learns

    lam = 1: what came minus what was expected, right on average whatever V is. lam = 0: delta, right only if V is.
    Between them it averages out luck, but trusts the value head's errors the more, the smaller lam is. Returns are made
    here, before any whitening: whitened ones would teach the value head numbers without a scale.
    """
    values, rewards = values.masked_fill(~mask, 0.0), rewards.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = delta + gamma * lam * next_advantage
        advantages[:, t], next_value = next_advantage, values[:, t]
    return advantages, advantages + values
