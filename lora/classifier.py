"""A label for a sentence, from any of the three models: one state is read off it, and a new layer scores the labels."""

from collections.abc import Callable, Sequence

import torch
import torch.nn as nn
from torch import Tensor

Read = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]  # model, ids, segments, mask (B, T) -> states (B, D)


def pooled_state(model: nn.Module, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """An encoder: the state of [CLS], pooled (BERT, section 4.1)."""
    return model.pool(model.hidden(ids, segments, mask)[:, 0])


def last_state(model: nn.Module, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """A decoder: the state of the last real token, the only one that has seen all the others (GPT-1, section 3.2)."""
    return model.hidden(ids, mask=mask)[torch.arange(len(ids)), mask.sum(dim=1) - 1]


def first_decoder_state(model: nn.Module, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """An encoder-decoder: where the first word of an answer would come from."""
    start = ids.new_full((len(ids), 1), model.config.start_id)
    return model.decode(start, model.encode(ids, mask), mask)[:, 0]


class Classifier(nn.Module):
    """labels: what the outputs of the new layer `head` mean, in their order."""

    def __init__(self, model: nn.Module, read: Read, labels: Sequence[str]) -> None:
        super().__init__()
        self.model, self.read, self.labels = model, read, tuple(labels)
        self.head = nn.Linear(model.config.d_model, len(self.labels))
        nn.init.normal_(self.head.weight, std=0.02)  # as BERT's new layers begin
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """ids, segments, mask (B, T) -> logits (B, number of labels)"""
        return self.head(self.read(self.model, ids, segments, mask))
