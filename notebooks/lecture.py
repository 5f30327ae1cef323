"""Every example sentence of the lecture, answered by a model that was trained on this machine:

    python -m notebooks.lecture             trains what is missing, then prints the table
    python -m notebooks.lecture --seed 1    the same with other seeds

Five models learn the small world (common/world.py), which shows none of the sentences that are asked here
(common/lecture.py). Behind each answer stands what an n-gram model of the same training text says. Wrong answers are
printed as wrong.
"""

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.checkpoint import write_atomically
from common.command import UserError, command, python
from common.config import option, parse
from common.lecture import LECTURE, PARAPHRASES, Question
from common.report import cut, table
from minibert import finetune as bert_finetune
from minibert import pretrain as bert_pretrain
from minigpt import train as gpt_train
from minit5 import finetune as t5_finetune
from notebooks.answerers import FillMask, Labels, Prompted, Spans, TextToText

PARTICLES = ("", "이", "가", "은", "는", "을", "를", "에", "도")  # 사람 and 사람이 are one word
WIDE = 46  # letters of a cell at most


@dataclass(frozen=True)
class LectureConfig:
    """How the lecture is rehearsed."""

    seed: int = option(0, "seed of all five models", low=0, high=2**31)
    short: bool = option(False, "a few steps of each model: only to see that everything runs")


@dataclass(frozen=True)
class Model:
    """One of the five: how it is trained, and who answers with it."""

    name: str
    train: Callable[[list[str]], None]
    flags: str
    answerer: type
    kinds: tuple[str, ...]
    short: str = "--steps 2 --eval-every 2"


MODELS = (
    Model("bert", bert_pretrain.main, "--corpus world --vocab-size 3000 --steps 1200 --eval-every 600",
          FillMask, ("fill", "sense")),
    Model("sentiment", bert_finetune.main, "--task sentiment --model {bert} --epochs 4", Labels, ("label",)),
    Model("questions", bert_finetune.main, "--task questions --model {bert} --epochs 6", Spans, ("span",)),
    Model("gpt", gpt_train.main, "--corpus world --vocab-size 3000 --d-model 128 --steps 1500 --eval-every 500",
          Prompted, ("next", "prompt", "direct", "steps")),
    Model("t5", t5_finetune.main, "--tasks world --vocab-size 2000 --d-model 128 --d-ff 384 --batch-size 32 "
          "--dropout 0 --max-target 48 --steps 1700 --eval-every 1700", TextToText, ("text",)),
)


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(LectureConfig, argv, __doc__)
    runs: dict[str, Path] = {}
    for model in MODELS:
        runs[model.name] = trained(model, config, runs)
    answerers = {kind: model.answerer(runs[model.name]) for model in MODELS for kind in model.kinds}
    for title, questions in (("The lecture", LECTURE),
                             ("Fifty paraphrases, fixed before the first training", PARAPHRASES)):
        lines, right = [], []
        for question in questions:
            line, result = answered(question, answerers[question.kind])
            lines.append(line)
            right.append(result)
        print(f"\n{title}\n")
        print(table(["", "kind", "input", "answer", "expected", "", "model", "s", "n-gram", ""], lines))
        counted = [result for result in right if result is not None]
        print(f"\n{title}: {sum(model for model, _ in counted)} of {len(counted)} as the lecture answers; "
              f"the n-gram models {sum(ngram for _, ngram in counted)}")
    print_seconds(runs)


def trained(model: Model, config: LectureConfig, runs: dict[str, Path]) -> Path:
    """The folder of a trained model; it is trained, or its training is taken up again, where that is not done."""
    name = f"lecture-{model.name}" + f"-seed{config.seed}" * (config.seed > 0) + "-short" * config.short
    run, start = Path("runs") / name, time.perf_counter()
    done = run / "lecture.json"  # written when the training has come to its end
    if not done.exists():
        flags = (model.flags + f" {model.short}" * config.short).format(**{k: v.as_posix() for k, v in runs.items()})
        argv = [*flags.split(), "--name", name, "--seed", str(config.seed)]
        if (run / "last.pt").exists():
            argv = ["--name", name, "--resume"]
        elif run.exists():
            raise UserError(f"{run} was broken off before it was saved for the first time: delete it, and start again")
        print(f"\n$ {shlex.join([python(), '-m', model.train.__module__, *argv])}")
        model.train(argv)
        seconds = json.dumps({"seconds": round(time.perf_counter() - start)})
        write_atomically(done, lambda part: part.write_text(seconds, encoding="utf-8"))
    return run


def answered(question: Question, answerer) -> tuple[list, tuple[bool, bool] | None]:
    """A line of the table, and whether model and n-gram are right; None where the lecture gives no answer."""
    start = time.perf_counter()
    guesses = answerer.guesses(question)
    seconds = time.perf_counter() - start
    counted = answerer.counted(question)
    results = is_right(question, guesses), is_right(question, counted)
    ticks = ["" if not question.answers else "✓" if right else "✗" for right in results]
    shown = question.text if not question.context else f"{question.text} | {question.context}"
    model = next(model.name for model in MODELS if question.kind in model.kinds)
    line = [question.where, question.kind, cut(shown, WIDE), cut(", ".join(guesses), WIDE),
            cut(" or ".join(question.answers) or "-", WIDE), ticks[0], model, f"{seconds:.2f}",
            cut(", ".join(counted), 24),
            ticks[1]]
    return line, results if question.answers else None


def is_right(question: Question, guesses: list[str]) -> bool:
    """Open: an answer is among the guesses, with or without a Korean particle. Closed: the best guess is one."""
    if question.is_open:
        return any(guess == answer + particle for guess in guesses for answer in question.answers
                   for particle in PARTICLES)
    return guesses[0] in question.answers


def print_seconds(runs: dict[str, Path]) -> None:
    """What the training took, when it was done in one go."""
    seconds = {name: json.loads((run / "lecture.json").read_text(encoding="utf-8"))["seconds"] for name,
               run in runs.items()}
    print("\nseconds of training: " + ", ".join(f"{name} {s}" for name, s in seconds.items())
          + f"; together {sum(seconds.values()) // 60}:{sum(seconds.values()) % 60:02}")


if __name__ == "__main__":
    main()
