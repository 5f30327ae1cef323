"""The data of the reward model: two answers of the SFT model to each question, and the one that a person prefers."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from common.batches import torch_random_state
from common.command import UserError
from common.config import option
from common.run import RunConfig
from rlhf import language
from rlhf.answers import Answers
from rlhf.policy import Policy
from rlhf.preferences import Pairs, compare
from rlhf.rollout import sample

PORTION = 512  # answers that are written at once
ROUNDS = 50  # in which all pairs have to be found; two answers of SFT are the same once in a hundred times


@dataclass(frozen=True)
class RewardConfig(RunConfig):
    """Settings of `python -m rlhf.reward_model`."""

    steps: int = option(375, "optimizer steps; the default reads each pair once", low=1)
    warmup: int = option(10, "steps over which the learning rate rises", low=0)
    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    eval_every: int = option(375, "steps between two evaluations; the run is saved at each", low=1)
    name: str = option("reward_model", "the run is kept in the folder runs/NAME")
    sft: str | None = option(None, "run of rlhf.sft that answers, and whose weights training begins with (the newest)")
    n_pairs: int = option(24_000, "pairs that the person compares", low=4)
    batch_size: int = option(64, "pairs of a batch", low=1)
    muon_lr: float = option(0.01, "learning rate of Muon, for the matrices between hidden states", low=0)
    adam_lr: float = option(0.003, "learning rate of AdamW, for the rest", low=0)
    weight_decay: float = option(0.3, "weight decay of Muon", low=0)


def written(model: nn.Module, prompts: list[list[int]], rng: torch.Generator) -> list[list[int]]:
    """An answer of the model to each prompt, EOS included."""
    policy, made = Policy(model), []
    for i in range(0, len(prompts), PORTION):
        answers = answer(policy, prompts[i : i + PORTION], rng)
        made += [tokens[:n] for tokens, n in zip(answers.tokens.tolist(), answers.lengths.tolist())]
    return made


def answer(policy: Policy, prompts: list[list[int]], rng: torch.Generator) -> Answers:
    return sample(policy, prompts, language.MAX_NEW, language.EOS_ID, language.PAD_ID, rng).answers


def draw_pairs(model: nn.Module, n: int, *seed: int) -> Pairs:
    """n questions, answered twice and compared. Where both answers come out the same, others take their place.

    UserError for a model that says the same every time.
    """
    rng = torch_random_state(*seed)
    questions, first, second = [], [], []
    for _ in range(ROUNDS):
        asked = language.prompts(n - len(questions), rng)
        drawn = zip(asked, written(model, asked, rng), written(model, asked, rng))
        for question, a, b in drawn:
            if a != b:
                questions.append(question)
                first.append(a)
                second.append(b)
        if len(questions) == n:
            break
    else:
        raise UserError(f"the model gives the same answer again and again: {ROUNDS} rounds found {len(questions):,} of "
                        f"{n:,} pairs of different ones")
    return compare(questions, first, second, language.gold_of, language.PAD_ID, rng)
