"""Answers written by the policy itself, with what PPO needs to know about each token at the moment it was drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.command import UserError
from common.generate import check_prompts, dropout_off, read
from rlhf.answers import Answers, check_ends
from rlhf.policy import Policy


@dataclass(frozen=True)
class Rollout:
    """answers; logp and values (B, L) of their tokens as the sampler saw them, 0 behind the answer."""

    answers: Answers
    logp: Tensor
    values: Tensor


@torch.no_grad()
def sample(policy: Policy, prompts: list[list[int]], max_new: int, eos_id: int | None, pad_id: int,
           rng: torch.Generator | None = None) -> Rollout:
    """Continue each prompt by at most max_new tokens, up to EOS, drawn from the policy's own probabilities.

    No temperature, no top-k, no top-p: PPO's ratio is pi / pi_old of the policy that drew the token, so whatever
    changes the draw has to change the log-probability as well. With top-k = 2 and log-probabilities of the whole
    softmax, the gradient of a small enumerable policy had a cosine of 0.69 with the true one.

    The log-probability and the value come out of the same pass that draws the token; no second one is needed. An answer
    that has ended leaves the batch: its row is dropped from the cache, and it costs nothing more.
    UserError as check_prompts and check_ends, and when prompt and answer do not fit into the context.
    """
    model, device = policy.model, next(policy.parameters()).device
    check_prompts(prompts, model.config.max_len, model.config.vocab_size)
    check_ends(eos_id, pad_id, model.config.vocab_size)
    if (longest := max(map(len, prompts))) + max_new > model.config.max_len:
        raise UserError(f"a prompt of {longest} tokens and an answer of {max_new} do not fit into the context of "
                        f"{model.config.max_len}")
    tokens = torch.full((len(prompts), max_new), pad_id, device=device)  # (B, L)
    logp, values = tokens.new_zeros(tokens.shape, dtype=torch.float), tokens.new_zeros(tokens.shape, dtype=torch.float)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    going = torch.arange(len(prompts), device=device)  # the rows that have not ended
    with dropout_off(policy):
        cache, states = read(model, prompts, max_new)  # states: (B, D), those of the last tokens of the prompts
        for t in range(max_new):
            log_p = model.head(states).float().log_softmax(dim=-1)  # (rows, V)
            new = log_p.exp().multinomial(1, generator=rng)  # (rows, 1)
            tokens[going, t], mask[going, t] = new.squeeze(1), True
            logp[going, t], values[going, t] = log_p.gather(1, new).squeeze(1), policy.values(states)
            on = new.squeeze(1) != eos_id
            if t == max_new - 1 or not on.any():
                break
            if not on.all():
                going, new = going[on], new[on]
                cache.select(on.nonzero().squeeze(1).tolist())
            states = model.hidden(new, cache=cache).squeeze(1)  # (rows, D)
    answers = behind(prompts, tokens, mask, pad_id)
    longest = answers.mask.shape[1]
    return Rollout(answers, logp[:, :longest], values[:, :longest])


def behind(prompts: list[list[int]], tokens: Tensor, mask: Tensor, pad_id: int) -> Answers:
    """Put the tokens (B, L) where the mask is True behind their prompts, and drop columns that nobody uses."""
    lengths = mask.sum(dim=1)
    longest = int(lengths.max())
    starts = torch.tensor([len(prompt) for prompt in prompts], device=tokens.device)
    widest = max(map(len, prompts)) + longest
    ids = torch.tensor([prompt + [pad_id] * (widest - len(prompt)) for prompt in prompts], device=tokens.device)
    mask = mask[:, :longest]
    places = starts.unsqueeze(1) + torch.arange(longest, device=tokens.device)  # (B, L)
    ids.scatter_(1, places, tokens[:, :longest])  # behind an answer this writes padding over padding
    return Answers(ids[:, : int((starts + lengths).max())], starts, mask)
