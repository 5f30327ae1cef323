"""Trained GPTs with their vocabularies: runs made here, and every published model that minigpt knows."""

from pathlib import Path

from common.bpe import ByteBPE
from common.characters import Characters
from common.command import UserError
from common.hub import model_type
from common.published_pieces import PublishedPieces
from common.tokenizer import Tokenizer
from minigpt.llama import Llama
from minigpt.model import GPT
from minigpt.qwen3 import Qwen3
from minigpt.recipe import load_run
from minigpt.texts import Vocabulary

MODELS = {model.layout.constants["model_type"]: model for model in (GPT, Llama, Qwen3)}


def load(directory: str | Path) -> GPT:
    """The model of a directory of the Hugging Face layout, of the class that its `model_type` names, dropout off.

    UserError when it is none of ours, and as common/hub.py.
    """
    kind = model_type(Path(directory))
    if kind not in MODELS:
        raise UserError(f"{directory} holds a model of type {kind!r}; known here are {', '.join(MODELS)}")
    return MODELS[kind].from_pretrained(directory)


def open_model(directory: Path) -> tuple[GPT, Vocabulary]:
    """A run made here, or a published checkpoint with its vocabulary (vocab.json + merges.txt, or tokenizer.model)."""
    if (directory / "best.pt").exists():
        model, vocabulary = load_run(directory)
    elif (directory / "last.pt").exists():
        raise UserError(f"{directory} was stopped before its first evaluation; go on with it by --resume")
    else:
        model, vocabulary = load(directory), open_vocabulary(directory)
    first = getattr(model.config, "bos_id", None) or 0
    if not first < vocabulary.vocab_size <= model.config.vocab_size:
        raise UserError(f"{directory} holds a vocabulary of {vocabulary.vocab_size:,} tokens and a model of "
                        f"{model.config.vocab_size:,}: they do not belong together")
    return model, vocabulary


def open_vocabulary(directory: Path) -> Vocabulary:
    """The vocabulary beside a published model: one of ours, LLaMA's, or GPT-2's.

    Other byte-level vocabularies (LLaMA 3, Qwen) look like GPT-2's and cut words by other rules: they are refused.
    """
    if (directory / "characters.json").exists():
        return Characters.load(directory / "characters.json")
    if (directory / "tokenizer.model").exists():
        try:
            return Tokenizer.load(directory / "tokenizer.model")
        except UserError:  # not made here
            return PublishedPieces(directory / "tokenizer.model")
    if (directory / "vocab.json").exists() and model_type(directory) == "gpt2":
        return ByteBPE.load(directory)
    raise UserError(f"{directory} has no vocabulary known here: tokenizer.model, or GPT-2's vocab.json and merges.txt")


def begin(model: GPT, vocabulary: Vocabulary, text: str | None) -> list[int]:
    """The tokens to go on from: those of the text, or what stands before the first word of any text.

    LLaMA reads its begin token before every text. In GPT-2, and in ours, one token both ends a text and begins the
    next: it is read only where there is no prompt.
    """
    first = getattr(model.config, "bos_id", model.config.eos_id)
    start = [] if first is None or (text is not None and first == model.config.eos_id) else [first]
    tokens = start + (vocabulary.encode(text) if text is not None else [])
    if not tokens:
        raise UserError("this model knows no begin of a text; give a prompt")
    return tokens
