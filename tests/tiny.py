"""A text and a run that are small enough for tests: a training run of about half a second."""

import math
import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from unittest import mock

import torch

from common import checkpoint
from common.batches import TokenizedText, tokenize
from common.report import Metrics
from common.tokenizer import Tokenizer
from tests.explain import equal, same

SOME_WORDS = """the a one this that every old new small large red green quick slow cat dog bird house river tree stone
song letter night sees hears finds keeps leaves follows likes knows under over near behind with without and or but"""
V = 312  # pieces of the tiny vocabulary: 7 special ones, 256 bytes, 49 more
FLAGS = ("--vocab-size", str(V), "--d-model", "24", "--n-layers", "2", "--n-heads", "3", "--d-ff", "40", "--max-len",
         "20", "--batch-size", "5", "--steps", "8", "--eval-every", "3", "--warmup", "2", "--corpus", "my.txt")
GPT_FLAGS = FLAGS  # the same sizes
T5_FLAGS = tuple("--length" if flag == "--max-len" else flag for flag in FLAGS)
TASK_FLAGS = ("--vocab-size", "300", "--d-model", "32", "--n-layers", "1", "--n-heads", "2", "--d-ff", "40",
              "--batch-size", "16", "--steps", "40", "--eval-every", "20", "--warmup", "5", "--muon-lr", "0.02",
              "--adam-lr", "0.02", "--dropout", "0", "--max-target", "8", "--tasks", "my.tsv")


def documents(n: int, paragraphs: int = 4, words: int = 12, seed: int = 1) -> list[list[str]]:
    """`n` documents of random words, each a list of paragraphs."""
    draw = random.Random(seed)
    return [[" ".join(draw.choices(SOME_WORDS.split(), k=words)) + " ." for _ in range(paragraphs)] for _ in range(n)]


def text(docs: list[list[str]]) -> str:
    """As a text file has them: a paragraph a line, a blank line between documents."""
    return "\n\n".join("\n".join(document) for document in docs) + "\n"


def tasks(n: int = 120) -> str:
    """A file of two tasks, which animal and which place each of n sentences names; only the prefix tells them apart."""
    draw, sentences = random.Random(1), {}
    while len(sentences) < n:
        animal, place = draw.choice(["dog", "cat", "bird"]), draw.choice(["house", "river", "tree"])
        words = [animal, place, *draw.sample(SOME_WORDS.split()[6:14], 4)]
        draw.shuffle(words)
        sentences[" ".join(words)] = animal, place
    return "".join(f"animal\t{sentence}\t{animal}\nplace\t{sentence}\t{place}\n"
                   for sentence, (animal, place) in sentences.items())


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train((paragraph for document in documents(50) for paragraph in document), V)


@cache
def tokens(n: int = 50, seed: int = 1) -> TokenizedText:
    return tokenize(documents(n, seed=seed), tokenizer())


def train(*flags: str, curve: bool = False) -> None:
    """The command, at tiny size, on my.txt in the working directory; drawing takes longer than all the rest."""
    from minibert import pretrain  # here, since data and tokenizer are used without it

    _train(pretrain, [*FLAGS, *flags], curve)


def train_gpt(*flags: str, curve: bool = False) -> None:
    """As `train`, for minigpt.train."""
    from minigpt import train as command

    _train(command, [*GPT_FLAGS, *flags], curve)


def train_t5(*flags: str, curve: bool = False) -> None:
    """As `train`, for minit5.pretrain."""
    from minit5 import pretrain as command

    _train(command, [*T5_FLAGS, *flags], curve)


def teach_t5(*flags: str, curve: bool = False) -> None:
    """As `train`, for minit5.finetune, on my.tsv: in a second it learns both tasks."""
    from minit5 import finetune as command

    if not Path("my.tsv").exists():
        Path("my.tsv").write_text(tasks(), encoding="utf-8")
    _train(command, [*TASK_FLAGS, *flags], curve)


def t5_that_writes(after: dict[int, dict[int, float]], vocab_size: int, eos_id: int):
    """A T5 that writes token j behind token i with probability after[i][j], whatever it reads; it begins behind 0."""
    from minit5 import T5, T5Config

    model = T5(T5Config(vocab_size, vocab_size, d_head=1, d_ff=1, n_layers=1, n_heads=1, dropout=0.0, norm_eps=0.0,
                        gated=True, tied=False, eos_id=eos_id)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(0.0 if ".blocks." in name and "norm" not in name else 1.0)  # no block adds anything to its input
        model.token.weight.copy_(torch.eye(vocab_size))  # what is left of token i in the end: √V in its own place
        model.head.weight.fill_(-99.0)
        for i, probabilities in after.items():
            for j, p in probabilities.items():
                model.head.weight[j, i] = math.log(p) / math.sqrt(vocab_size)
    return model


def _train(command, argv: list[str], curve: bool) -> None:
    if not Path("my.txt").exists():
        Path("my.txt").write_text(text(documents(60)), encoding="utf-8")
    with nullcontext() if curve else mock.patch.object(command, "draw_curves", lambda *_: "no curve in this test"):
        command.main(argv)


def run_in_process(module: str, *argv: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """`python -m module argv` with `folder` as working directory."""
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-m", module, *argv], cwd=folder, env=environment, capture_output=True,
                          timeout=120)


def press_ctrl_c(step: int, monkeypatch, times: int = 1) -> None:
    """Somebody presses Ctrl-C in the given step (the first losses that are printed do not count)."""
    from minibert import pretrain

    _press_ctrl_c(step, monkeypatch, times, pretrain, "pretraining_loss")


def press_ctrl_c_gpt(step: int, monkeypatch, times: int = 1) -> None:
    """As `press_ctrl_c`, in minigpt.train."""
    from minigpt import train as command

    _press_ctrl_c(step, monkeypatch, times, command, "next_token_loss")


def press_ctrl_c_t5(step: int, monkeypatch, command, times: int = 1) -> None:
    """As `press_ctrl_c`, in minit5.pretrain or minit5.finetune."""
    _press_ctrl_c(step, monkeypatch, times, command, "target_loss")


def _press_ctrl_c(step: int, monkeypatch, times: int, command, name: str) -> None:
    real, calls = getattr(command, name), []

    def loss(model, batch):
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
        return real(model, batch)

    monkeypatch.setattr(command, name, loss)


def without_speed(run: Path) -> list[dict[str, float]]:
    """The metrics of a run, but for what no two runs share."""
    return [{name: value for name, value in line.items() if name != "tokens_per_s"}
            for line in Metrics(run / "metrics.jsonl").read()]


def same_weights(came: Path, expected: Path, mistake: str) -> None:
    """Two runs ended with the same weights, bit for bit."""
    a, b = (checkpoint.load(run / "last.pt")["model"] for run in (came, expected))
    equal(list(a), list(b), "names of the weights")
    for name in b:
        same(a[name], b[name], f"{name}: {mistake}")
