"""The loss of PPO, and the figures that say how far one update went. All inputs (B, L), masked.

Schulman et al. 2017 (arXiv:1707.06347). The denominator is the number of tokens of the whole minibatch: a mean of each
answer first would make a token of a short answer count more.
"""

import torch
from torch import Tensor

from rlhf.advantages import masked_mean


def policy_loss(logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2) -> Tensor:
    """mean of max(-A ratio, -A clip(ratio, 1 - clip, 1 + clip)), ratio = pi(y_t) / pi_old(y_t). Eq. 7, as a loss.

    At ratio 1 its gradient is that of REINFORCE, -A grad log pi. A token gets no gradient any more once its ratio has
    left the interval in the direction that its advantage asks for; the other way it always gets one.
    """
    ratio = torch.exp(logp - old_logp)
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return masked_mean(torch.maximum(unclipped, clipped), mask)


def value_loss(values: Tensor, returns: Tensor, mask: Tensor, old_values: Tensor | None = None,
               clip: float = 0.2) -> Tensor:
    """Half the mean squared error of the value head.

    old_values: given, a value may move from them by `clip` at most, as in OpenAI's code. Not used here: returns of this
    scale are further than that from a value head that begins at 0, and it would follow them slowly.
    """
    errors = (values - returns).square()
    if old_values is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - returns).square())
    return 0.5 * masked_mean(errors, mask)


@torch.no_grad()
def update_size(logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> dict[str, Tensor]:
    """How far the policy is from the one that wrote the answers, in the words of TRL.

    policy/approxkl_avg   mean of (ratio - 1) - log ratio: KL(old || new), since the answers are from the old policy
    policy/clipfrac_avg   share of the tokens where the clipped side of the loss is the larger one
    val/ratio             mean ratio
    """
    log_ratio = logp - old_logp
    ratio = log_ratio.exp()
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip) > -advantages * ratio
    return {"policy/approxkl_avg": masked_mean(ratio - 1 - log_ratio, mask),
            "policy/clipfrac_avg": masked_mean(clipped.float(), mask), "val/ratio": masked_mean(ratio, mask)}


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(return - V) / Var(return): 1 = the value head foresees all, 0 = it does as well as a constant."""
    values, returns = values[mask], returns[mask]
    return 1 - (returns - values).var(correction=0) / returns.var(correction=0).clamp(min=1e-12)
