"""The reward model: a language model whose head gives one number for a whole answer."""

import math

import torch
import torch.nn as nn
from torch import Tensor

from common.command import UserError
from rlhf.answers import Answers


class RewardModel(nn.Module):
    """trunk (a language model, trained in place) and a head that reads the state of the last real token of an answer.

    Stiennon et al. 2020 (arXiv:2009.01325), section 3.4. Only the difference of two scores is ever trained, so scores
    have no zero and no unit of their own. `normalise` gives them one: on answers of the SFT model they get mean 0 and
    standard deviation 1. That is frozen before PPO begins, so that beta means the same in every run.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.config = trunk, trunk.config
        d = trunk.config.d_model
        self.head = nn.Linear(d, 1)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(d + 1))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, answers: Answers) -> Tensor:
        """(B,)"""
        raw = self.head(answers.last_state(self.trunk.hidden(answers.ids))).squeeze(-1)
        return (raw - self.mean) / self.std

    @torch.no_grad()
    def normalise(self, answers: Answers) -> None:
        """Give these answers mean 0 and standard deviation 1. UserError where all of them score the same."""
        scores = self(answers)
        if not scores.std() > 1e-6:  # rounding alone
            raise UserError(f"the reward model gives all of {len(scores)} answers the same score: it learned nothing")
        self.mean += self.std * scores.mean()
        self.std *= scores.std()
