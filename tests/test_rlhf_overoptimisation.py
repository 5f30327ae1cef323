"""Best-of-n by enumeration, and the way of a run in the plot."""

import math
from itertools import product

import pytest
import torch

from rlhf.overoptimisation import Run, best_of_n, kl_of_best, trained, what_happened
from tests.explain import close, equal


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_kl_of_the_best_of_n_by_enumeration(n):
    """Many equally probable answers, no two alike: P(rank k is the best of n) against 1 / m."""
    m = 2000
    rank = torch.arange(1, m + 1, dtype=torch.double)
    p = (rank / m) ** n - ((rank - 1) / m) ** n
    close(torch.tensor(kl_of_best(n)), (p * (p * m).log()).sum().float(), "log n - (n - 1) / n", atol=2e-3)


def test_the_best_of_n_by_hand():
    proxy = torch.tensor([[1.0, 2.0, 4.0, 3.0]])
    gold = torch.tensor([[10.0, 20.0, -5.0, 7.0]])
    curve = best_of_n(proxy, gold, sizes=(1, 2, 4, 8))
    close(torch.tensor(curve.gold), torch.tensor([8.0, 7.5, -5.0]), "mean; best of (1, 2) and of (4, 3); best of all")
    close(torch.tensor(curve.proxy), torch.tensor([2.5, 3.0, 4.0]), "the proxy of the chosen ones")
    close(torch.tensor(curve.distance), torch.tensor([math.sqrt(kl_of_best(n)) for n in (1, 2, 4)]), "sqrt KL")


def test_the_best_of_two_in_the_mean():
    """Over all pairs of three answers the group estimate is the expectation."""
    gold = dict(zip((0.0, 1.0, 2.0), (5.0, 1.0, 3.0)))
    pairs = torch.tensor(list(product((0.0, 1.0, 2.0), repeat=2)))
    of_pairs = torch.tensor([[gold[x] for x in pair] for pair in pairs.tolist()])
    expected = sum(gold[max(pair)] for pair in product((0.0, 1.0, 2.0), repeat=2)) / 9
    close(torch.tensor(best_of_n(pairs, of_pairs, (2,)).gold), torch.tensor([expected]), "the mean over the groups")


def line(kl: float, gold: float, score: float) -> dict[str, float]:
    return {"objective/kl": kl, "gold": gold, "objective/scores": score}


def test_the_way_of_a_run():
    history = [line(0.0, 1.0, 0.0), line(2.0, 3.0, 2.0), line(8.0, 5.0, 3.0), line(10.0, 7.0, 3.0)]
    curve = trained("x", history, mean=1.0, std=2.0, window=2)
    close(torch.tensor(curve.distance), torch.tensor([1.0, 3.0]), "the root of the mean KL")
    close(torch.tensor(curve.gold), torch.tensor([0.5, 2.5]), "gold on the scale of the proxy")
    close(torch.tensor(curve.proxy), torch.tensor([1.0, 3.0]), "mean score")


JUDGED = {"gold": 1.0, "held_out_gold": 0.5, "kl": 3.0}
SFT = {"gold": -0.5, "held_out_gold": -1.0, "kl": 0.0}


def test_the_fall_from_the_peak():
    gold = [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, -1.0]
    run = Run([line(i, g, float(i)) for i, g in enumerate(gold)], JUDGED)
    fall, rise = run.fall(window=2)
    close(torch.tensor([fall, rise]), torch.tensor([3.0, 4.0]), "gold 2.5 to -0.5, the proxy from its value there")


@pytest.mark.parametrize(("golds", "word"), [([0.0, 1.0, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0], "was hacked"),
                                             ([0.0] * 8, "was not hacked")])
def test_the_words_follow_the_figures(golds, word):
    run = Run([line(i, g, float(i)) for i, g in enumerate(golds)], JUDGED)
    told = what_happened(SFT, run, Run(run.history, {**JUDGED, "gold": 2.5}), run, best_of=0.7)
    assert word in told and "50%" in told and "-0.50 to +1.00" in told, f"came {told}"
    equal("nothing to compare" in what_happened(SFT, run, Run(run.history, SFT), run, 0.7), True, "no division by 0")
