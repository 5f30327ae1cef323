"""The parts of a block besides attention: norms and feed-forward networks."""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class Stacked(nn.Linear):
    """Several linear maps of the same input as one matrix, one below the other: one large product is faster.

    parts: how many rows each of them has. The output holds theirs side by side; `.split(parts, dim=-1)` takes it apart.
    Published checkpoints keep each map by itself; common/hub.py cuts the matrix at `parts` for them.
    names: what the maps are called, so that one of them can be meant alone (lora/lora.py).
    """

    def __init__(self, d_in: int, parts: tuple[int, ...], bias: bool = True, names: tuple[str, ...] = ()) -> None:
        super().__init__(d_in, sum(parts), bias)
        self.parts, self.names = parts, names

    def some(self, x: Tensor, first: int, end: int) -> Tensor:
        """What the parts first ... end - 1 say of x, side by side, and the others are not asked."""
        rows = slice(sum(self.parts[:first]), sum(self.parts[:end]))
        return F.linear(x, self.weight[rows], None if self.bias is None else self.bias[rows])


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them, at every position alone: act(x W₁ + b₁) W₂ + b₂.

    Vaswani et al. 2017, eq. 2 (there with ReLU; BERT and GPT take GELU). x (..., D) -> (..., D), inside d_ff wide.
    dropout: of the inner values, which T5 has and BERT and GPT have not.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Callable[[Tensor], Tensor], bias: bool = True,
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(x))))


class GatedFeedForward(nn.Module):
    """A feed-forward network whose inner values are opened and closed by a gate: (act(x W) ⊙ (x V)) W₂.

    Shazeer 2020 (arXiv:2002.05202), eq. 5 and 6: SwiGLU with act = SiLU (LLaMA), GEGLU with GELU (T5 v1.1). No biases.
    Three matrices instead of two, so d_ff is usually two thirds of what it would be. x (..., D) -> (..., D)
    dropout: as in FeedForward.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Callable[[Tensor], Tensor], dropout: float = 0.0) -> None:
        super().__init__()
        self.gate_up = Stacked(d_model, (d_ff, d_ff), bias=False, names=("gate", "up"))  # W and V
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).split(self.gate_up.parts, dim=-1)  # (..., d_ff) each
        return self.down(self.dropout(self.activation(gate) * up))


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight: a layer norm that neither subtracts a mean nor adds a bias.

    Zhang & Sennrich 2019 (arXiv:1910.07467), eq. 4. x (..., D) -> (..., D). In float32 whatever comes in: the squares
    of a bfloat16 are too coarse to be added up.

    >>> RMSNorm(2, eps=0.0)(torch.tensor([3.0, 4.0]))  # √((9 + 16) / 2) = 3.5355
    tensor([0.8485, 1.1314], grad_fn=<MulBackward0>)
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + self.eps)
        return y.type_as(x) * self.weight
