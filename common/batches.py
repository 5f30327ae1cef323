"""From documents to batches: token numbers in one long row, and a shuffle that can be repeated from any point."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.command import UserError
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


class TokenWindows:
    """Batches of windows of a text: windows(t) is the t-th one, a pure function of the seed and t.

    Each epoch cuts the text into windows of `length` tokens, from another offset on, and shuffles them: nearly every
    token is read once an epoch, each time with another distance to the begin of its window.
    ahead: the tokens that a window shows of the next one.
    """

    def __init__(self, tokens: Tensor, length: int, batch_size: int, seed: int, ahead: int = 0) -> None:
        self.tokens, self.length, self.batch_size, self.seed, self.ahead = tokens, length, batch_size, seed, ahead
        largest_offset = length - 1
        self.batches_per_epoch = (len(tokens) - ahead - largest_offset) // length // batch_size
        if self.batches_per_epoch < 1:
            raise UserError(f"the text is too short: it has {len(tokens):,} tokens, and one batch of {batch_size} x "
                            f"{length} takes {batch_size * length + largest_offset + ahead:,}")
        self._epoch = -1

    def __call__(self, t: int) -> Tensor:
        """(B, length + ahead)"""
        epoch, i = divmod(t, self.batches_per_epoch)
        if epoch != self._epoch:
            rng = random_state(self.seed, epoch)
            first = int(rng.integers(self.length))
            n_windows = (len(self.tokens) - self.ahead - first) // self.length
            self._starts = first + self.length * torch.from_numpy(rng.permutation(n_windows))
            self._epoch = epoch
        starts = self._starts[i * self.batch_size : (i + 1) * self.batch_size]
        return cut(self.tokens, starts, self.length + self.ahead)


def cut(tokens: Tensor, starts: Tensor, width: int) -> Tensor:
    """The `width` tokens from each of `starts` (B,) on, (B, width)."""
    return tokens[starts.unsqueeze(1) + torch.arange(width)]
