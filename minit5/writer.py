"""Letting a T5 write: the encoder reads the input once, the decoder writes the answer token by token."""

import torch
import torch.nn as nn
from torch import Tensor

from common.cache import KVCache
from common.command import UserError
from common.generate import Choice, beam_search, generate, greedy
from minit5.model import T5


class Writer(nn.Module):
    """A T5 with inputs to answer, as a model that goes on with a text, which is what common/generate.py writes with.

    Its texts are the answers, which begin with the start token. `new_cache` reads the inputs, once.
    """

    def __init__(self, model: T5, inputs: list[list[int]]) -> None:
        """UserError for an empty input, and a token outside the vocabulary."""
        super().__init__()
        self.model, self.config, self.head = model, model.config, model.head
        self.training = model.training  # a new module is in training; writing puts the mode back that it finds here
        for ids in inputs:
            if not ids:
                raise UserError("the input is empty: there is nothing to answer")
            if outside := next((i for i in ids if not 0 <= i < self.config.vocab_size), None):
                raise UserError(f"the input holds token {outside}, and the vocabulary ends at "
                                f"{self.config.vocab_size - 1}")
        longest = max(map(len, inputs), default=0)
        self.ids = torch.tensor([ids + [self.config.pad_id] * (longest - len(ids)) for ids in inputs])  # (B, S)
        lengths = torch.tensor([len(ids) for ids in inputs])
        self.mask = torch.arange(longest) < lengths.unsqueeze(1) if (lengths < longest).any() else None  # (B, S)

    def new_cache(self, batch: int, max_len: int) -> KVCache:
        device = self.model.token.weight.device
        return self.model.new_cache(self.ids.to(device), None if self.mask is None else self.mask.to(device), max_len)

    def hidden(self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        return self.model.decode(ids, mask=mask, cache=cache)


def answer(model: T5, inputs: list[list[int]], max_new: int, choose: Choice = greedy) -> list[list[int]]:
    """For each input the tokens that the model writes, all inputs at once; the end token is left out.

    UserError for an empty input or a token outside the vocabulary.
    """
    end = model.config.eos_id
    new = generate(Writer(model, inputs), [[model.config.start_id] for _ in inputs], max_new, choose, end)
    return [tokens[:-1] if tokens and tokens[-1] == end else tokens for tokens in new]


def answer_by_beam(model: T5, ids: list[int], max_new: int, n_beams: int,
                   length_penalty: float = 1.0) -> list[tuple[float, list[int]]]:
    """The best answers found to one input: (score, tokens), best first; see `beam_search` in common/generate.py."""
    end = model.config.eos_id
    found = beam_search(Writer(model, [ids]), [model.config.start_id], max_new, n_beams, end, length_penalty)
    return [(score, tokens[:-1] if tokens[-1] == end else tokens) for score, tokens in found]
