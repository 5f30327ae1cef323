"""The feed-forward network of a block."""

from collections.abc import Callable

import torch.nn as nn
from torch import Tensor


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them, at every position alone: act(x W₁ + b₁) W₂ + b₂.

    Vaswani et al. 2017, eq. 2 (there with ReLU; BERT and GPT take GELU). x (..., D) -> (..., D), inside d_ff wide.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Callable[[Tensor], Tensor], bias: bool = True) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.activation = activation
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))
