"""Prompt tuning: the model stays as it is, and reads a few vectors before the text that are no words, but learned.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning" (arXiv:2104.08691), section 2.

Seen from the model they are new words: the vocabulary grows from V to V + P, and rows of tokens begin with the numbers
V ... V + P - 1. So nothing else in the model has to know of them; only the table of vectors is another one. They stand
on positions, as words do, and enter at the first layer alone; a prefix (prefix_tuning.py) stands on none and enters
every layer.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from common.command import UserError
from lora.wrapping import freeze, wrap


class SoftPrompt(nn.Module):
    """The table of word vectors, `base`, and below it the vectors `prompt` (P, D) of the new words."""

    def __init__(self, base: nn.Embedding, prompt: Tensor) -> None:
        super().__init__()
        self.base, self.prompt = base, nn.Parameter(prompt)

    @property
    def weight(self) -> Tensor:
        """The vectors of the real words."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...), from 0 to V + P - 1 -> (..., D)"""
        new = ids - self.base.num_embeddings
        vectors = self.base(ids.masked_fill(new >= 0, 0))
        return torch.where((new >= 0).unsqueeze(-1), self.prompt[new.clamp(min=0)], vectors)


def add_soft_prompt(model: nn.Module, words: Sequence[int]) -> list[int]:
    """Freeze the model, give it as many new words as `words` are, and return their numbers.

    words: tokens whose vectors they begin with. Those of real words do better than random ones (section 3.2).
    UserError when there are none, or more than the model reads.
    """
    if not words or len(words) >= model.config.max_len:
        raise UserError(f"a prompt of {len(words)} vectors: from 1 to {model.config.max_len - 1} are possible here")
    name, table = next((name, layer) for name, layer in model.named_modules()
                       if isinstance(layer, nn.Embedding) and layer.num_embeddings == model.config.vocab_size)
    freeze(model)
    wrap(model, name, lambda base: SoftPrompt(base, base.weight.detach()[list(words)].clone()))
    return list(range(table.num_embeddings, table.num_embeddings + len(words)))
