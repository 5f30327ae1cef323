"""From documents to batches: token numbers in one long row, and a shuffle that can be repeated from any point."""

from dataclasses import dataclass

import numpy as np
import torch

from common.corpus import Document
from common.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizedText:
    """Documents as token ids, one behind the other: tokens (N,), and the length of each document."""

    tokens: np.ndarray
    lengths: list[int]


def tokenize(documents: list[Document], tokenizer: Tokenizer) -> TokenizedText:
    """Encode each paragraph and join those of a document."""
    encoded = [[i for paragraph in document for i in tokenizer.encode(paragraph)] for document in documents]
    return TokenizedText(np.array([i for document in encoded for i in document], dtype=np.int64),
                         [len(document) for document in encoded])


def random_state(seed: int, *path: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the place in the run (epoch, batch, ...) and on nothing before it."""
    return np.random.default_rng([seed, *path])


def torch_random_state(seed: int, *path: int) -> torch.Generator:
    """The same for torch."""
    return torch.Generator().manual_seed(int(random_state(seed, *path).integers(2**62)))
