"""The next token: batches of windows, the loss, and what it comes to on held-out text."""

import math

import torch
from torch import Tensor

from common.batches import TokenWindows, cut
from common.head_loss import head_loss
from minigpt.model import GPT
from minigpt.texts import Text


class Windows(TokenWindows):
    """Batches of windows of a text in which nearly every token is asked for once an epoch (see common/batches.py)."""

    def __init__(self, tokens: Tensor, length: int, batch_size: int, seed: int) -> None:
        super().__init__(tokens, length, batch_size, seed, ahead=1)  # the answer to a window's last token

    def __call__(self, t: int) -> dict[str, Tensor]:
        """ids and answers (B, T)"""
        return ids_and_answers(super().__call__(t))


def ids_and_answers(windows: Tensor) -> dict[str, Tensor]:
    """Windows (B, T + 1) -> ids and answers (B, T): the answer to a token is the one that follows it."""
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
    batches = [ids_and_answers(cut(text.tokens, starts, length + 1)) for starts in whole.split(batch_size)
               if len(starts)]
    if n % length:
        batches.append(ids_and_answers(text.tokens[None, n - n % length :]))
    nats = sum(next_token_loss(model, {name: x.to(device) for name, x in b.items()})["loss"][0].item() for b in batches)
    return {"bits_per_byte": nats / math.log(2) / text.n_bytes, "held_out_loss": nats / n}
