"""What a GPT is trained and judged on: text as one long row of tokens."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from common.bpe import ByteBPE
from common.characters import Characters
from common.command import UserError
from common.corpus import WORLD, load_corpus, read_file
from common.published_pieces import PublishedPieces
from common.tokenizer import Tokenizer
from common.world import WorldText, split_documents

Vocabulary = Tokenizer | Characters | ByteBPE | PublishedPieces


@dataclass(frozen=True)
class Text:
    """tokens (N,), of which all but the first are predicted; n_bytes, the size of the same text in UTF-8."""

    tokens: Tensor
    n_bytes: int


def ends(path: str | None) -> bool:
    """Are the texts of this corpus whole, so that a model can learn where one ends? A file is one text, cut in two."""
    return path in (None, WORLD)


def read_texts(path: str | None) -> tuple[list[str], list[str]]:
    """Texts to train on, and texts held out.

    Without a path the documents of the documentation corpus (see common/corpus.py), for "world" those of the small
    world, prompts among them (see common/world.py). A file is taken as it stands, line breaks and all: its first nine
    tenths, and its last tenth, counted in characters (nanoGPT's split).
    """
    if path == WORLD:
        return tuple([document.text for document in documents] for documents in world_documents())
    if path is None:
        corpus = load_corpus()
        return ["\n".join(document) for document in corpus.train], ["\n".join(document) for document in corpus.held_out]
    text = read_file(Path(path))
    cut = int(0.9 * len(text))
    if not text[:cut].strip():
        raise UserError(f"{path} is too short: nine tenths of its {len(text)} characters are to be learned from")
    return [text[:cut]], [text[cut:]]


@cache
def world_documents() -> tuple[list[WorldText], list[WorldText]]:
    """What a GPT reads of the world, and what is held out of it."""
    return split_documents(60_000, 2_000, prompts=True)


def tokenize(texts: list[str], vocabulary: Vocabulary) -> Text:
    """Texts one behind the other; several are kept apart by the end token, which stands before the first one as well.

    So a model learns where a text ends, and how one begins. A single text is part of a longer one, and gets none.
    """
    end = [vocabulary.eos_id] if len(texts) > 1 else []
    tokens = end + [token for text in texts for token in vocabulary.encode(text) + end]
    return Text(torch.tensor(tokens), sum(len(text.encode()) for text in texts))
