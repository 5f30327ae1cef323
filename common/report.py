"""What a run tells its reader: numbers kept line by line, tables, a curve and a verdict."""

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from common.checkpoint import write_atomically


class Metrics:
    """metrics.jsonl: one JSON object a line, each with the step it belongs to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, step: int, **values: float) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def read(self) -> list[dict[str, float]]:
        """All lines; the last one may be torn when a run was killed while writing it, and is then left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def keep_until(self, step: int) -> None:
        """Drop what a resumed run is about to do again."""
        kept = [json.dumps(line) + "\n" for line in self.read() if line["step"] <= step]
        write_atomically(self.path, lambda part: part.write_text("".join(kept), encoding="utf-8"))


def add_sample(path: Path, step: int, text: str) -> None:
    """Append the text of a step to samples.txt, or put it in place of that step's older text and all behind it.

    So what a resumed run does again stands there once.
    """
    heading = f"--- step {step}\n"
    before = path.read_text(encoding="utf-8").partition(heading)[0] if path.exists() else ""
    write_atomically(path, lambda part: part.write_text(f"{before}{heading}{text}\n\n", encoding="utf-8"))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width as plain text; Korean letters count as two columns wide.

    >>> print(table(["piece", "p"], [["the", 0.5], ["한국", 0.25]]))
    piece  p
    the    0.5
    한국   0.25
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(_columns, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths)).rstrip()
                     for row in cells)


def cut(text: str, most: int) -> str:
    """A cell that is not longer than `most` letters.

    >>> cut("a long sentence", 7)
    'a long…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def verdict(name: str, value: float, low: float, high: float) -> str:
    """One line that says whether a figure is where it is expected.

    >>> verdict("held-out top-1", 0.401, 0.39, 0.42)
    'held-out top-1: 0.401, expected 0.390 to 0.420: as expected'
    """
    place = "below what is expected" if value < low else "above what is expected" if value > high else "as expected"
    return f"{name}: {value:.3f}, expected {low:.3f} to {high:.3f}: {place}"


def pyplot() -> ModuleType | None:
    """matplotlib's pyplot, which draws into files; None where this extra is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")  # a file, no window
    import matplotlib.pyplot

    return matplotlib.pyplot


def no_picture(path: Path) -> str:
    """What is said instead of drawing."""
    return f'{path.name} needs matplotlib:  pip install -c constraints.txt -e ".[plots]"'


def draw_curves(metrics: Metrics, panels: dict[str, Sequence[str]], path: Path) -> str:
    """Draw the named values over the steps, one panel a key of `panels`; returns one line that says what happened.

    matplotlib is an extra: without it nothing is drawn and the line says how to get it.
    """
    if (plt := pyplot()) is None:
        return no_picture(path)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), layout="constrained", squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items()):
        for name in names:
            points = [(line["step"], line[name]) for line in metrics.read() if name in line]
            axis.plot(*zip(*points) if points else ([], []), label=name.replace("_", " "),
                      marker="o" if 0 < len(points) <= 20 else None, linewidth=1.2)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return f"curve: {path}"
