"""Which of two answers is better: pairs judged by a noisy person, and the loss that makes a score of them.

Bradley & Terry 1952: a person prefers answer a to b with probability sigmoid(g_a - g_b), where g is how good an answer
really is to them. Here g is the hidden gold score, so the person is known: nobody can agree with them more often than
`ceiling` says, and a reward model that is right has g, up to a constant, as its score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.command import UserError
from common.report import table
from common.trainer import Losses
from rlhf.answers import Answers, lay_out
from rlhf.epochs import Epochs


@dataclass(frozen=True)
class Pairs:
    """n pairs of answers to the same question: rows 0, 2, 4 ... of `answers` were preferred to rows 1, 3, 5 ...

    p (n,): the probability with which the person prefers what they preferred.
    """

    answers: Answers
    p: Tensor

    def ceiling(self) -> float:
        """How often the person would be foreseen by somebody who knows the gold score: the mean of max(p, 1 - p)."""
        return torch.maximum(self.p, 1 - self.p).mean().item()

    def __getitem__(self, rows: Tensor) -> "Pairs":
        return Pairs(self.answers[torch.stack([2 * rows, 2 * rows + 1], dim=1).flatten()], self.p[rows])


def compare(question: list[list[int]], first: list[list[int]], second: list[list[int]],
            gold: Callable[[Answers], Tensor], pad_id: int, rng: torch.Generator) -> Pairs:
    """Let the person choose between first[i] and second[i]. UserError for two equal answers: nothing is to choose."""
    if same := [i for i, (a, b) in enumerate(zip(first, second)) if a == b]:
        raise UserError(f"pair {same[0]}: both answers are the same, so neither can be preferred")
    g = gold(lay_out([*zip(question, first), *zip(question, second)], pad_id))
    p = torch.sigmoid(g[: len(first)] - g[len(first) :])  # that the first one is preferred
    wins = torch.rand(len(p), generator=rng) < p
    rows = [pair for q, a, b, win in zip(question, first, second, wins.tolist()) for pair in
            ([(q, a), (q, b)] if win else [(q, b), (q, a)])]
    return Pairs(lay_out(rows, pad_id), torch.where(wins, p, 1 - p))


def preference_loss(scores: Tensor) -> Tensor:
    """-log sigmoid(preferred - other) of each pair: scores (2n,), preferred ones at 0, 2, 4 ... -> (n,)

    Ouyang et al. 2022, eq. 1. log 2 where two scores are equal; adding a constant to all changes nothing.
    """
    return -F.logsigmoid(scores[0::2] - scores[1::2])


def pair_loss(model: nn.Module, batch: dict[str, Tensor]) -> Losses:
    losses = preference_loss(model(Answers(**batch)))
    return {"loss": (losses.sum(), len(losses))}


class PairBatches:
    """Batches of pairs for the trainer: batch t is a pure function of the seed and t."""

    def __init__(self, pairs: Pairs, batch_size: int, seed: int) -> None:
        self.pairs, self.rows = pairs, Epochs(len(pairs.p), batch_size, seed)

    def __call__(self, t: int) -> dict[str, Tensor]:
        return vars(self.pairs[self.rows(t)].answers)


@torch.no_grad()
def agreement(model: nn.Module, pairs: Pairs) -> dict[str, float]:
    """The loss on pairs that were not trained on, and how often the model prefers what was preferred."""
    scores = model(pairs.answers)
    return {"held_out_loss": preference_loss(scores).mean().item(),
            "accuracy": (scores[0::2] > scores[1::2]).float().mean().item(), "ceiling": pairs.ceiling(),
            # the order of the gold scores themselves, without the noise of the person
            "true_order": ((scores[0::2] > scores[1::2]) == (pairs.p > 0.5)).float().mean().item()}


def report(measured: dict[str, float]) -> str:
    """What `agreement` measured, and the correlation with the gold score, as a table."""
    return table(["reward model, on pairs that it was not trained on", ""], [
        ["foresees what the person prefers", f"{measured['accuracy']:.3f}"],
        ["the most that anybody could: the person is not sure themselves", f"{measured['ceiling']:.3f}"],
        ["orders two answers as the gold score does", f"{measured['true_order']:.3f}"],
        ["correlation with the gold score, on answers of SFT", f"{measured['correlation']:.3f}"],
        ["loss (who knows nothing: log 2 = 0.693)", f"{measured['held_out_loss']:.3f}"]])
