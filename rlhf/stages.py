"""The three stages, one function each: demonstrations, preferences, PPO. The commands of this package call them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor
from tqdm import tqdm

from common import checkpoint
from common.report import Metrics
from common.run import short_hash
from common.trainer import fit
from rlhf import health, language
from rlhf.answers import Answers
from rlhf.comparisons import RewardConfig, draw_pairs
from rlhf.imitation import Demonstrations, SFTConfig, answer_loss
from rlhf.judging import answers_to_scale
from rlhf.optimizers import supervised
from rlhf.policy import Policy, frozen_copy
from rlhf.ppo_loop import PPOConfig, ppo
from rlhf.preferences import PairBatches, Pairs, agreement, pair_loss
from rlhf.rollout import Rollout
from rlhf.saved import POLICY, REWARD_MODEL, save
from rlhf.scorer import RewardModel

N_HELD_OUT, N_SCALE = 2_000, 1_024  # pairs to evaluate on; answers that give scores their zero and unit


def learn_demonstrations(model: nn.Module, config: SFTConfig, run: Path) -> dict[str, float]:
    """Stage 1. Train `model` in place, keep it in `run`; the loss on held-out demonstrations."""
    data = Demonstrations(config)
    fit(model, answer_loss, data, supervised(model, config.muon_lr, config.adam_lr), config, run,
        lambda step: data.evaluate(model), config.resume, {"language": short_hash(" ".join(language.WORDS).encode())})
    checkpoint.load_weights(model.eval(), run / "best.pt")
    save(model, POLICY, config.sizes(), run)
    return data.evaluate(model)


def learn_preferences(sft: nn.Module, sizes: dict, config: RewardConfig, run: Path,
                      pairs: Pairs | None = None) -> tuple[RewardModel, dict[str, float]]:
    """Stage 2. A reward model that begins as `sft`, kept in `run`; how it does on pairs that it was not trained on.

    pairs: those to train on; drawn here when not given.
    """
    pairs = draw_pairs(sft, config.n_pairs, config.seed, 0) if pairs is None else pairs
    held_out = draw_pairs(sft, min(N_HELD_OUT, config.n_pairs), config.seed, 1)
    torch.manual_seed(config.seed)  # of the head, however many random numbers the pairs took
    model = RewardModel(frozen_copy(sft).requires_grad_(True))
    fit(model, pair_loss, PairBatches(pairs, config.batch_size, config.seed),
        supervised(model, config.muon_lr, config.adam_lr, config.weight_decay), config, run,
        lambda step: agreement(model, held_out), config.resume,
        {"pairs": short_hash(pairs.answers.ids.numpy().tobytes())})
    checkpoint.load_weights(model.eval().requires_grad_(False), run / "best.pt")
    scale = answers_to_scale(sft, N_SCALE, config.seed)
    model.normalise(scale)
    save(model, REWARD_MODEL, sizes, run)
    both = torch.stack([model(scale), language.gold_of(scale)])
    return model, {**agreement(model, held_out), "correlation": torch.corrcoef(both)[0, 1].item()}


def learning(policy: Policy, score: Callable[[Answers], Tensor],
             config: PPOConfig) -> Iterator[tuple[Rollout, dict[str, float]]]:
    """PPO in this language: an iteration each time that it is asked for the next one."""
    return ppo(policy, score, language.prompts, config, language.MAX_NEW, language.EOS_ID, language.PAD_ID)


def learn_by_ppo(policy: Policy, score: Callable[[Answers], Tensor], config: PPOConfig, run: Path,
                 title: str = "PPO") -> list[dict[str, float]]:
    """Stage 3. Train `policy` in place; what was measured in each iteration, the gold score of its answers included.

    Warnings are printed once, when they first apply.
    """
    metrics, history, said = Metrics(run / "metrics.jsonl"), [], set()
    iterations = learning(policy, score, config)
    for rollout, measured in tqdm(iterations, desc=title, total=config.iterations, unit="batch", mininterval=1.0):
        measured["gold"] = language.gold_of(rollout.answers).mean().item()  # watched, never learned from
        history.append(measured)
        metrics.write(len(history), **measured)
        for line in health.warnings(history):
            kind = line.split()[0]
            if kind not in said:
                tqdm.write(f"warning, {title}, iteration {len(history)}: {line}")
            said.add(kind)
    policy.eval()
    return history
