"""A run from the command line: its settings, its folder, its vocabulary, and how to go on with it."""

import hashlib
import inspect
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import sentencepiece

from common import checkpoint
from common.command import UserError, python
from common.config import option, read_json, write_json
from common.corpus import CACHE
from common.interrupt import Stopped
from common.tokenizer import Tokenizer
from common.trainer import TrainConfig


@dataclass(frozen=True)
class RunConfig(TrainConfig):
    """What every command that trains has; each adds its own fields."""

    name: str = option("run", "the run is kept in the folder runs/NAME")
    resume: bool = option(False, "continue the run NAME where it was saved last, with its own settings")


Config = TypeVar("Config", bound=RunConfig)


def folder(name: str) -> Path:
    return Path("runs") / name


def settings(config: Config) -> Config:
    """The settings of the command line, or those that the run to be resumed began with."""
    checkpoint.check_name(config.name)
    if config.precision not in ("float32", "bfloat16"):
        raise UserError(f"precision = {config.precision} should be float32 or bfloat16")
    if not config.resume:
        return config
    saved = read_json(type(config), folder(config.name) / "config.json")
    saved = replace(saved, name=config.name, resume=True)  # the folder may have been renamed since
    if config not in (saved, type(config)(name=config.name, resume=True)):
        raise UserError(f"{folder(config.name)} is resumed with the settings that it began with; "
                        "give only --name and --resume")
    return saved


def new_folder(config: RunConfig) -> Path:
    """A folder for a new run: made when nothing that the user gave can be wrong any more, so that none stays empty."""
    run = checkpoint.new_run(config.name)
    write_json(replace(config, name=run.name), run / "config.json")
    return run


def short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def cached_vocabulary(texts: list[str], vocab_size: int, kind: str = "unigram") -> Tokenizer:
    """The vocabulary of these texts, trained once and then read from `.cache`."""
    # another way of making it, another cache
    made_by = f"{inspect.getsource(Tokenizer)}{sentencepiece.__version__}{kind}"
    key = short_hash("\n".join([made_by, *texts]).encode())
    cached = CACHE / f"vocabulary-{key}-{vocab_size}.model"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        Tokenizer.train(texts, vocab_size, kind).save(cached)
    return Tokenizer.load(cached)


def again(module: str, run: Path) -> str:
    """The command that goes on with a run."""
    return f"{python()} -m {module} --name {shlex.quote(run.name)} --resume"


@contextmanager
def says_how_to_go_on(module: str, run: Path) -> Iterator[None]:
    """Around `fit`: after Ctrl-C one line tells what was saved and which command takes it up."""
    try:
        yield
    except Stopped:
        print(f"\nstopped and saved; go on with:  {again(module, run)}")
        raise
    except KeyboardInterrupt:
        saved = (run / "last.pt").exists()
        print("\nstopped at once; "
              + (f"go on from the last save with:  {again(module, run)}" if saved else "nothing was saved"))
        raise
