"""A proxy that is maximised stops being a proxy: gold and proxy against the distance from SFT. (Gao et al. 2022)

arXiv:2210.10760. The distance is d = sqrt KL(pi || SFT). The paper has reward models of 3 million to 3 billion weights
and finds R = d (alpha - beta d) for best-of-n, R = d (alpha - beta log d) for RL. Ours is far smaller: the shape can be
seen here, its constants mean nothing elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.report import no_picture, pyplot


@dataclass(frozen=True)
class Curve:
    """One line of the plot: at each distance the gold score and the proxy, both on the proxy's scale."""

    name: str
    distance: list[float]
    gold: list[float]
    proxy: list[float]


def best_of_n(proxy: Tensor, gold: Tensor, sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256)) -> Curve:
    """Without any training: write n answers and keep the one that the proxy likes best.

    proxy, gold (M, N): scores of N answers to each of M questions. For each n up to N the answers of a question are cut
    into N / n groups, each of which has its best one. KL = log n - (n - 1) / n (Stiennon et al. 2020, appendix G.3).
    """
    distance, of_gold, of_proxy = [], [], []
    for n in (n for n in sizes if n <= proxy.shape[1]):
        groups = proxy.shape[1] // n
        p, g = (x[:, : groups * n].reshape(-1, n) for x in (proxy, gold))  # (M groups, n)
        best = p.argmax(dim=1, keepdim=True)
        distance.append(math.sqrt(kl_of_best(n)))
        of_gold.append(g.gather(1, best).mean().item())
        of_proxy.append(p.gather(1, best).mean().item())
    return Curve("best of n", distance, of_gold, of_proxy)


def kl_of_best(n: int) -> float:
    """KL(best of n || one), in nats, where no two answers score the same.

    >>> kl_of_best(1), round(kl_of_best(4), 3)
    (0.0, 0.636)
    """
    return math.log(n) - (n - 1) / n


def trained(name: str, history: list[dict[str, float]], mean: float, std: float, window: int = 4) -> Curve:
    """The way of a PPO run, means over `window` iterations each; mean, std: of the gold score on answers of SFT."""
    parts = [history[i : i + window] for i in range(0, len(history), window)]

    def average(figure: str) -> list[float]:
        return [sum(line[figure] for line in part) / len(part) for part in parts]

    return Curve(name, [math.sqrt(max(0.0, kl)) for kl in average("objective/kl")],
                 [(gold - mean) / std for gold in average("gold")], average("objective/scores"))


def draw(panels: dict[str, list[Curve]], path: Path) -> str:
    """Gold as a line, the proxy dashed in the same colour; a panel for each reward model. What happened, as one line.

    matplotlib is an extra: without it nothing is drawn, and the line says how to get it.
    """
    if (plt := pyplot()) is None:
        return no_picture(path)
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels.items()):
        for i, curve in enumerate(curves):
            axis.plot(curve.distance, curve.gold, f"C{i}-", label=curve.name)
            axis.plot(curve.distance, curve.proxy, f"C{i}--", linewidth=0.9)
        axis.set(title=title, xlabel="√KL from SFT (√nats)", ylabel="score above SFT (std): gold —, proxy - -")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return f"over-optimisation: {path}"


@dataclass(frozen=True)
class Run:
    """A run of PPO: what was measured in each iteration, and how its last policy was judged."""

    history: list[dict[str, float]]
    judged: dict[str, float]

    def fall(self, window: int = 4) -> tuple[float, float]:
        """How far gold came down from its own peak by the end, and what the proxy rose meanwhile (means of `window`
        iterations)."""
        gold, proxy = (torch.tensor([line[name] for line in self.history]).unfold(
            0, min(window, len(self.history)), 1).mean(dim=1) for name in ("gold", "objective/scores"))
        peak = int(gold.argmax())
        return (gold[peak] - gold[-1]).item(), (proxy[-1] - proxy[peak]).item()


def what_happened(sft: dict[str, float], ppo: Run, on_gold: Run, unheld: Run, best_of: float) -> str:
    """The runs in plain words, true whatever they came to. unheld: a run without KL; best_of: the best of n by gold."""
    gain, possible = ppo.judged["gold"] - sft["gold"], on_gold.judged["gold"] - sft["gold"]
    fall, rise = unheld.fall()
    hacked = fall >= 0.5 and rise > 0
    return "\n".join([
        f"What happened: PPO with beta 0.1 moved the gold score from {sft['gold']:+.2f} to {ppo.judged['gold']:+.2f}, "
        f"{ppo.judged['kl']:.1f} nats away,",
        f"without ever seeing it; trained on the gold score itself, as long and with the same beta, it comes to "
        f"{on_gold.judged['gold']:+.2f}: the learned reward brought {gain / possible:.0%} of that." if possible > 0 else
        "and training on the gold score itself gained nothing, so there is nothing to compare.",
        f"Asked about animals that it was never asked about in training it went from {sft['held_out_gold']:+.2f} to "
        f"{ppo.judged['held_out_gold']:+.2f}.",
        f"No training, the best of many answers by the reward model: at most {best_of:+.2f}.",
        f"Without the KL, against the weaker reward model, gold came down {fall:.2f} from its own peak "
        f"while the proxy moved by {rise:+.2f}: "
        + ("the reward model was hacked, and only the gold score shows it." if hacked else
           "this time the reward model was not hacked."),
        "One seed is not a result.",
    ])
