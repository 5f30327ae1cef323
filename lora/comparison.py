"""What each method cost and reached, as a table and a picture."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.report import no_picture, pyplot, table


@dataclass(frozen=True)
class Result:
    """One run: parameters that were trained, all parameters, held-out accuracy, seconds, the size of what is saved."""

    trained: int
    total: int
    accuracy: float
    seconds: float
    megabytes: float


def mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of the runs of a method; a single run has none, 0."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def comparison(results: dict[str, list[Result]]) -> str:
    """A line a method: means over its runs."""
    return table(["method", "trained", "% of all", "accuracy", "deviation", "seconds", "saved, MB"], [
        [method, f"{runs[0].trained:,}", f"{100 * runs[0].trained / runs[0].total:.2f}",
         *("{:.3f} {:.3f}".format(*mean([run.accuracy for run in runs])).split()),
         f"{mean([run.seconds for run in runs])[0]:.1f}", f"{runs[0].megabytes:.3f}"]
        for method, runs in results.items()])


def draw_comparison(results: dict[str, list[Result]], path: Path) -> str:
    """Accuracy over the share of trained weights, a point a method; returns one line that says where it is.

    matplotlib is an extra: without it nothing is drawn and the line says how to get it.
    """
    if (plt := pyplot()) is None:
        return no_picture(path)
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for method, runs in results.items():
        share = 100 * runs[0].trained / runs[0].total
        height, deviation = mean([run.accuracy for run in runs])
        axis.errorbar(share, height, deviation, marker="o", capsize=3, linestyle="")
        axis.annotate(method, (share, height), xytext=(4, 5), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="trained, % of all parameters", ylabel="held-out accuracy")
    axis.margins(x=0.2, y=0.15)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return f"picture: {path}"
