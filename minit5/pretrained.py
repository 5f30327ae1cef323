"""A trained T5 with its vocabulary: a run made here, or a published checkpoint."""

import json
from importlib.util import find_spec
from pathlib import Path

from common import checkpoint, weight_files
from common.checkpoint import read_text
from common.command import UserError
from common.config import read_json, write_json
from common.published_pieces import PublishedPieces
from common.tokenizer import Tokenizer
from minit5.model import T5, T5Config
from minit5.published import T5_LAYOUT
from minit5.vocabulary import N_SENTINELS, SentinelVocabulary

PIECES = ("tokenizer.model", "spiece.model")  # made here; published with T5


def open_model(directory: Path) -> tuple[T5, SentinelVocabulary]:
    """The best weights of a run, or a published T5, dropout off; UserError when model and vocabulary do not fit."""
    if (directory / "best.pt").exists():
        model = T5(read_json(T5Config, directory / "model.json"))
        checkpoint.load_weights(model, directory / "best.pt")
    elif (directory / "last.pt").exists():
        raise UserError(f"{directory} was stopped before its first evaluation; go on with it by --resume")
    else:
        model = T5.from_pretrained(directory)
    return model.eval(), open_vocabulary(directory, model.config)


def open_vocabulary(directory: Path, config: T5Config) -> SentinelVocabulary:
    """The pieces in `directory`, and behind them as many sentinels as the model has rows for, 100 at most."""
    path = next((directory / name for name in PIECES if (directory / name).exists()), None)
    if path is None:
        raise UserError(f"{directory} has no vocabulary: neither {' nor '.join(PIECES)}")
    pieces = Tokenizer.load(path) if path.name == PIECES[0] else PublishedPieces(path)
    if pieces.vocab_size > config.vocab_size:
        raise UserError(f"{directory} holds a vocabulary of {pieces.vocab_size:,} pieces and a model of "
                        f"{config.vocab_size:,}: they do not belong together")
    vocabulary = SentinelVocabulary(pieces, min(N_SENTINELS, config.vocab_size - pieces.vocab_size))
    of_model, of_vocabulary = ((x.pad_id, x.start_id, x.eos_id) for x in (config, vocabulary))
    if of_model != of_vocabulary:
        raise UserError(f"{directory}: padding, start and end are the tokens {of_model} of the model and "
                        f"{of_vocabulary} of the vocabulary: they do not belong together")
    return vocabulary


def known_tasks(directory: Path) -> list[str] | None:
    """The tasks that a run was taught: none after pre-training; None where nobody knows, as of a published T5."""
    path = directory / "tasks.json"
    if not path.exists():
        return None
    try:
        tasks = json.loads(read_text(path))
    except ValueError:
        tasks = None
    if not isinstance(tasks, list):
        raise UserError(f"{path} is damaged: it is no list of tasks")
    return tasks


def save_description(directory: Path, config: T5Config, vocabulary: SentinelVocabulary, tasks: list[str]) -> None:
    """What `open_model` and `known_tasks` need besides the weights."""
    write_json(config, directory / "model.json")
    text = json.dumps(tasks, ensure_ascii=False)
    checkpoint.write_atomically(directory / "tasks.json", lambda part: part.write_text(text, encoding="utf-8"))
    save_vocabulary(vocabulary, directory)


def save_vocabulary(vocabulary: SentinelVocabulary, directory: Path) -> None:
    vocabulary.pieces.save(directory / PIECES[isinstance(vocabulary.pieces, PublishedPieces)])


def publish(model: T5, vocabulary: SentinelVocabulary, run: Path) -> list[list[str]]:
    """Write the best weights of a run in the layout of Hugging Face; -> rows for a table: [[folder, what it is]]."""
    if not find_spec("safetensors"):
        print(f"{run / 'published'} {weight_files.INSTALL}")
        return []
    checkpoint.load_weights(model, run / "best.pt")
    model.save_pretrained(run / "published")
    save_vocabulary(vocabulary, run / "published")
    return [[f"{run / 'published'}", f"the same model for transformers' {T5_LAYOUT.architecture}"]]
