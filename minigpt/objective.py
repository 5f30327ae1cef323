"""The next token: batches of windows, the loss, and what it comes to on held-out text."""

import math

import torch
from torch import Tensor

from common.batches import random_state
from common.command import UserError
from common.head_loss import head_loss
from minigpt.model import GPT
from minigpt.texts import Text


class Windows:
    """Batches of windows of a text: windows(t) is the t-th one, a pure function of the seed and t.

    Each epoch cuts the text into windows of `length` tokens, from another offset on, and shuffles them: nearly every
    token is asked for once an epoch, each time with another distance to the begin of its window.
    """

    def __init__(self, tokens: Tensor, length: int, batch_size: int, seed: int) -> None:
        self.tokens, self.length, self.batch_size, self.seed = tokens, length, batch_size, seed
        self.batches_per_epoch = (len(tokens) - length) // length // batch_size  # what fits behind the largest offset
        if self.batches_per_epoch < 1:
            raise UserError(f"the text is too short: it has {len(tokens):,} tokens, and one batch of {batch_size} x "
                            f"{length} takes {(batch_size + 1) * length:,}")
        self._epoch = -1

    def __call__(self, t: int) -> dict[str, Tensor]:
        """ids and answers (B, T): the answer to a token is the one that follows it."""
        epoch, i = divmod(t, self.batches_per_epoch)
        if epoch != self._epoch:
            rng = random_state(self.seed, epoch)
            first = int(rng.integers(self.length))
            n_windows = (len(self.tokens) - 1 - first) // self.length
            self._starts = first + self.length * torch.from_numpy(rng.permutation(n_windows))
            self._epoch = epoch
        starts = self._starts[i * self.batch_size : (i + 1) * self.batch_size]
        return batch(self.tokens, starts, self.length)


def batch(tokens: Tensor, starts: Tensor, length: int) -> dict[str, Tensor]:
    """The windows that begin at `starts` (B,): ids and answers (B, T)."""
    windows = tokens[starts.unsqueeze(1) + torch.arange(length + 1)]  # (B, T + 1)
    return {"ids": windows[:, :-1], "answers": windows[:, 1:]}  # shifted here, once, and nowhere else


def next_token_loss(model: GPT, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """-log P(token | the tokens before it in its window), in nats: {"loss": (sum, count)}; the trainer divides."""
    hidden, answers = model.hidden(batch["ids"]).flatten(0, 1), batch["answers"].flatten()  # (B T, D), (B T,)
    return {"loss": (head_loss(model.head, hidden, answers), len(answers))}


@torch.no_grad()
def evaluate(model: GPT, text: Text, length: int, batch_size: int = 64) -> dict[str, float]:
    """The whole text in windows one after the other, each token but the first predicted once.

    bits_per_byte = nats in all / ln 2 / bytes of the text. It does not depend on how the text was cut into tokens, so
    it compares models with different vocabularies, and with compressors; the loss, nats per token, does not. The first
    tokens of a window see little, so a longer context scores better.
    """
    device = next(model.parameters()).device
    n = len(text.tokens) - 1
    whole = torch.arange(0, max(0, n - length + 1), length)
    batches = [batch(text.tokens, starts, length) for starts in whole.split(batch_size) if len(starts)]
    if rest := n % length:
        batches.append(batch(text.tokens, torch.tensor([n - rest]), rest))
    nats = sum(next_token_loss(model, {name: x.to(device) for name, x in b.items()})["loss"][0].item() for b in batches)
    return {"bits_per_byte": nats / math.log(2) / text.n_bytes, "held_out_loss": nats / n}
