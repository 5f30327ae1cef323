"""What pre-training is worth where labels are few: sentiment of the small world, pre-trained or from scratch.

    make lecture                                                              once, for runs/lecture-bert
    python -m tests.benchmarks.bench_labels --model runs/lecture-bert         32 and 256 labelled sentences, 5 seeds

Both sides have the same sizes, vocabulary, labelled sentences, batches and steps; only the first weights differ. Each
figure is the accuracy on the same 1,000 held-out sentences after the last step.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
from pathlib import Path

from common.command import UserError, command
from common.report import Metrics, table
from minibert import finetune

STEPS = 150


def accuracy(model: Path, labelled: int, seed: int, from_scratch: bool) -> float:
    """One run of `python -m minibert.finetune`, in a folder of its own."""
    flags = ["--task", "sentiment", "--model", str(model.resolve()), "--labelled", str(labelled), "--seed", str(seed),
             "--steps", str(STEPS), "--eval-every", str(STEPS), *(["--from-scratch"] if from_scratch else [])]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        try:
            os.chdir(folder)
            finetune.main(flags)
            return Metrics(Path("runs/task-minibert/metrics.jsonl")).read()[-1]["accuracy"]
        finally:
            os.chdir(here)


@command
def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--labelled", type=int, nargs="+", default=[32, 256])
    arguments.add_argument("--seeds", type=int, default=5)
    options = arguments.parse_args(argv)
    if not (options.model / "best.pt").exists():
        raise UserError(f"{options.model} is no trained run: make lecture")
    rows = []
    for labelled in options.labelled:
        scores = {scratch: [accuracy(options.model, labelled, seed, scratch) for seed in range(options.seeds)]
                  for scratch in (False, True)}
        means = {scratch: statistics.mean(values) for scratch, values in scores.items()}
        spread = {scratch: statistics.pstdev(values) for scratch, values in scores.items()}
        rows.append([labelled, *(f"{means[s]:.3f} ({spread[s]:.3f})" for s in (False, True)),
                     f"{means[False] - means[True]:+.3f}"])
    print(table(["labelled sentences", "pre-trained", "from scratch", "gain"], rows))


if __name__ == "__main__":
    main()
