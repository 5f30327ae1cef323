"""The model that is trained by PPO: any causal language model, and a value head on the same trunk."""

import copy

import torch.nn as nn
from torch import Tensor

from rlhf.answers import Answers, chosen


class Policy(nn.Module):
    """A language model that says of each state what comes next, and how good it expects the answer to become.

    model: `hidden(ids, cache=...)` -> (B, T, D), `head(hidden)` -> logits, `new_cache`, and `config` with d_model,
    max_len and vocab_size (minigpt/model.py has them). It is trained in place.

    The value head begins at 0: it expects nothing yet, and is no worse than no value head at all.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.value = nn.Linear(model.config.d_model, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)
        self.to(next(model.parameters()).device)
        self.train(model.training)  # a new module is in training mode, and would take the model along

    def values(self, states: Tensor) -> Tensor:
        """(..., D) -> (...)"""
        return self.value(states).squeeze(-1)

    def forward(self, answers: Answers) -> tuple[Tensor, Tensor, Tensor]:
        """One pass over finished answers: log-probabilities, values and entropies of their tokens, (B, L) each."""
        states = answers.states_before(self.model.hidden(answers.ids))  # (B, L, D)
        logits = self.model.head(states)  # (B, L, V)
        return chosen(logits, answers), self.values(states).masked_fill(~answers.mask, 0.0), entropy(logits)


def entropy(logits: Tensor) -> Tensor:
    """-sum p log p over the whole vocabulary, in nats: (..., V) -> (...)"""
    log_p = logits.detach().float().log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def frozen_copy(model: nn.Module) -> nn.Module:
    """The reference: the same weights in memory of their own, dropout off, and no gradient ever."""
    return copy.deepcopy(model).eval().requires_grad_(False)
