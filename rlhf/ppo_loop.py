"""Proximal policy optimisation of a language model against a score. (Ziegler et al. 2019, Ouyang et al. 2022)

    maximise   E[score(question, answer)] - beta KL(policy || reference)

An iteration: the policy answers a batch of questions; the answers are scored as a whole; the score, and beta times the
KL token by token, become rewards; rewards and the value head become advantages; a few steps of the clipped loss.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from common.batches import torch_random_state
from common.command import UserError
from common.config import option
from common.optim import trapezoid
from rlhf.advantages import gae, masked_mean, token_rewards, whiten
from rlhf.answers import Answers, log_probs
from rlhf.clipped import explained_variance, policy_loss, update_size, value_loss
from rlhf.kl import k1
from rlhf.optimizers import for_ppo
from rlhf.policy import Policy, frozen_copy
from rlhf.rollout import Rollout, sample

Score = Callable[[Answers], Tensor]  # -> (B,): how good each answer is; rewards are expected to vary by about 1


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO. Small models bear learning rates a hundred times those of large ones."""

    iterations: int = option(32, "batches of answers", low=1)
    batch_size: int = option(128, "answers of a batch", low=2)
    epochs: int = option(1, "times that a batch is gone through", low=1)
    minibatches: int = option(4, "steps of an epoch", low=1)
    lr: float = option(2e-3, "learning rate of the policy; it falls to 0", low=0)
    value_lr: float = option(2e-2, "learning rate of the value head", low=0)
    beta: float = option(0.1, "weight of the KL, in units of the score for a nat", low=0)
    gamma: float = option(1.0, "discount of later rewards; 1: the end counts as much as the begin", low=0, high=1)
    lam: float = option(0.95, "lambda of GAE: 1 trusts what came, 0 the value head", low=0, high=1)
    clip: float = option(0.2, "a token is pushed on until its probability has changed by this share", low=0.001, high=1)
    value_weight: float = option(0.5, "what the loss of the value head counts", low=0)
    max_norm: float = option(1.0, "largest norm of the gradient", low=0.001)
    seed: int = option(0, "seed of everything random", low=0, high=2**63 - 1)


def ppo(policy: Policy, score: Score, prompts: Callable[[int, torch.Generator], list[list[int]]], config: PPOConfig,
        max_new: int, eos_id: int, pad_id: int,
        penalty: Callable[[Tensor, Tensor], Tensor] = k1) -> Iterator[tuple[Rollout, dict[str, float]]]:
    """Train `policy` in place; after each iteration yield its answers and what was measured (health.py explains it).

    prompts(n, rng): n questions. The reference is the policy as it is at the begin.
    penalty: how the KL is estimated in the reward; anything but k1 is wrong (kl.py).
    UserError for a score that is no number, where no answer of the first batch comes to its end, where the update
    diverges, and as `sample`.
    """
    policy.eval()  # dropout would make the ratio other than 1 before the first step
    reference = frozen_copy(policy.model)
    adam = for_ppo(policy, config.lr, config.value_lr)
    rates = [group["lr"] for group in adam.param_groups]
    for i in range(config.iterations):
        for group, rate in zip(adam.param_groups, rates):
            group["lr"] = rate * trapezoid(i, config.iterations, warmup=1, decay=1.0)
        rng, clock = torch_random_state(config.seed, i), [time.process_time()]
        rollout = sample(policy, prompts(config.batch_size, rng), max_new, eos_id, pad_id, rng)
        clock.append(time.process_time())
        if i == 0 and not rollout.answers.ended(eos_id).any():  # later it is the run that goes wrong: see health.py
            raise UserError(f"none of {config.batch_size} answers came to its end within {max_new} tokens: train "
                            "longer on demonstrations, or allow longer answers")
        scores = checked_scores(score, rollout.answers)
        ref_logp = reference_log_probs(reference, rollout.answers)
        clock.append(time.process_time())
        measured = update(policy, adam, rollout, scores, ref_logp, config, rng, penalty)
        clock.append(time.process_time())
        seconds = {f"seconds/{name}": b - a for name, a, b in zip(("rollout", "score", "update"), clock, clock[1:])}
        yield rollout, {"episode": (i + 1) * config.batch_size, **describe(rollout, scores, ref_logp, config, eos_id),
                        **measured, "lr": adam.param_groups[0]["lr"], **seconds}


@torch.no_grad()
def reference_log_probs(reference: nn.Module, answers: Answers) -> Tensor:
    """(B, L), in one pass over the finished answers: nothing of it is needed while they are written."""
    return log_probs(reference, answers)


@torch.no_grad()
def checked_scores(score: Score, answers: Answers) -> Tensor:
    """The scores, (B,). UserError where they cannot be learned from."""
    scores = score(answers)
    if not scores.isfinite().all():
        raise UserError(f"the reward of {int((~scores.isfinite()).sum())} of {len(scores)} answers is NaN or infinite")
    return scores


def update(policy: Policy, adam: torch.optim.Optimizer, rollout: Rollout, scores: Tensor, ref_logp: Tensor,
           config: PPOConfig, rng: torch.Generator, penalty: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """All steps on one batch of answers; the means over the steps of what was measured in each."""
    answers, mask = rollout.answers, rollout.answers.mask
    rewards = token_rewards(scores, rollout.logp, ref_logp, mask, config.beta, penalty)
    advantages, returns = gae(rewards, rollout.values, mask, config.gamma, config.lam)
    advantages = whiten(advantages, mask)
    steps = []
    for _ in range(config.epochs):
        for rows in torch.randperm(len(scores), generator=rng).chunk(config.minibatches):
            some = answers[rows]
            longest = some.mask.shape[1]
            old, of_advantages, of_returns = (x[rows, :longest] for x in (rollout.logp, advantages, returns))
            logp, values, entropy = policy(some)
            losses = {"loss/policy_avg": policy_loss(logp, old, of_advantages, some.mask, config.clip),
                      "loss/value_avg": value_loss(values, of_returns, some.mask)}
            adam.zero_grad()
            (losses["loss/policy_avg"] + config.value_weight * losses["loss/value_avg"]).backward()
            norm = nn.utils.clip_grad_norm_(policy.parameters(), config.max_norm)
            if not norm.isfinite():
                raise UserError("the update of PPO diverges, its gradient is no number: a smaller lr or beta may help")
            adam.step()
            steps.append({**losses, **update_size(logp, old, of_advantages, some.mask, config.clip),
                          "policy/entropy_avg": masked_mean(entropy, some.mask)})
    measured = {name: torch.stack([step[name].detach() for step in steps]).mean().item() for name in steps[0]}
    return {**measured, "val/ratio_first": steps[0]["val/ratio"].item(),
            "val/explained_variance": explained_variance(rollout.values, returns, mask).item()}


def describe(rollout: Rollout, scores: Tensor, ref_logp: Tensor, config: PPOConfig, eos_id: int) -> dict[str, float]:
    """What the batch was like before it was learned from, in the words of TRL."""
    answers, score = rollout.answers, scores.mean().item()
    kl = k1(rollout.logp, ref_logp).sum(dim=1).mean().item()  # of an answer, so a sum over its tokens
    return {"objective/kl": kl, "objective/scores": score, "objective/non_score_reward": -config.beta * kl,
            "objective/rlhf_reward": score - config.beta * kl, "val/length": answers.lengths.float().mean().item(),
            "val/ended": answers.ended(eos_id).float().mean().item()}
