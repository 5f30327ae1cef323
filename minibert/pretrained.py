"""What fine-tuning starts from: the encoder of a run, or of a published checkpoint, with its vocabulary."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common import checkpoint
from common.command import UserError
from common.config import read_json, write_json
from common.labelled import Answered, Classified, Labelled, text_of
from common.tokenizer import Tokenizer
from common.wordpiece import WordPiece
from minibert.heads import BertWithHead
from minibert.model import BertConfig, BertModel
from minibert.recipe import load_run
from minibert.rows import Vocabulary

PIECES = {"tokenizer.model": Tokenizer, "vocab.txt": WordPiece}


def open_vocabulary(directory: Path) -> Vocabulary:
    """Pieces made here, or WordPiece's of a published BERT."""
    for name, kind in PIECES.items():
        if (directory / name).exists():
            return kind.load(directory / name)
    raise UserError(f"{directory} has no vocabulary: neither {' nor '.join(PIECES)}")


def open_encoder(directory: Path, dropout: float) -> tuple[BertModel, Vocabulary]:
    """A pre-trained encoder with this dropout. UserError when model and vocabulary do not belong together."""
    if (directory / "best.pt").exists():
        trained = load_run(directory)[0].bert
    elif (directory / "last.pt").exists():
        raise UserError(f"{directory} was stopped before its first evaluation; go on with it by --resume")
    else:
        trained = BertModel.from_pretrained(directory)
    vocabulary = open_vocabulary(directory)
    if vocabulary.vocab_size != trained.config.vocab_size:
        raise UserError(f"{directory} holds a vocabulary of {vocabulary.vocab_size:,} pieces and a model of "
                        f"{trained.config.vocab_size:,}: they do not belong together")
    encoder = BertModel(replace(trained.config, dropout=dropout))
    encoder.load_state_dict(trained.state_dict())
    return encoder, vocabulary


def save_description(run: Path, config: BertConfig, labels: Sequence[str], vocabulary: Vocabulary) -> None:
    """What `load_finetuned` needs besides the weights."""
    write_json(config, run / "model.json")
    save_labels(labels, run)
    save_vocabulary(vocabulary, run)


def save_labels(labels: Sequence[str], run: Path) -> None:
    text = json.dumps(labels, ensure_ascii=False)
    checkpoint.write_atomically(run / "labels.json", lambda part: part.write_text(text, encoding="utf-8"))


def save_vocabulary(vocabulary: Vocabulary, directory: Path) -> None:
    if isinstance(vocabulary, Tokenizer):
        vocabulary.save(directory / "tokenizer.model")
    else:
        vocabulary.save(directory)


def load_finetuned(run: Path, model_class: type[BertWithHead]) -> tuple[BertWithHead, Vocabulary]:
    """The best weights of a fine-tuned run, dropout off, and its vocabulary."""
    try:
        labels = json.loads(checkpoint.read_text(run / "labels.json"))
    except ValueError:
        labels = None
    if not isinstance(labels, list):
        raise UserError(f"{run / 'labels.json'} is damaged: it is no list of labels")
    model = model_class(read_json(BertConfig, run / "model.json"), labels)
    checkpoint.load_weights(model, run / "best.pt")
    return model.eval(), open_vocabulary(run)


def arguments_for(example: Labelled) -> list[str]:
    """How `python -m minibert.predict` is asked about an example."""
    match example:
        case Answered(question, context):
            return [f"--context={context}", "--", question]
        case Classified(text, _, second) if second is not None:
            return [f"--second={second}", "--", text]
        case _:
            return ["--", text_of(example)]
