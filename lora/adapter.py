"""Adapters: a small network with a narrow middle, in every block; the block itself stays as it is.

    f(x) = W_up ReLU(W_down x + b_down) + b_up          D -> m -> D with m much smaller than D

    serial     y + f(y) for the output y of each sublayer     Houlsby et al. 2019 (arXiv:1902.00751), section 2.1
    parallel   y + s f(x), x what the feed-forward reads      He et al. 2022 (arXiv:2110.04366), table 1 and section 4.5

W_up and b_up begin at zero, so that the model is at first what it was (Houlsby: "near-identity"; here exactly).
"""

from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.command import UserError
from lora.wrapping import chosen, freeze, wrap

SUBLAYERS = ("*attention.out", "feed_forward")  # where each sublayer ends; cross-attention, if there is one, as well


class Bottleneck(nn.Module):
    """f above: x (..., D) -> (..., D) through d_bottleneck numbers."""

    def __init__(self, d_model: int, d_bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(d_model, d_bottleneck), nn.Linear(d_bottleneck, d_model)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.relu(self.down(x)))


class SerialAdapter(nn.Module):
    """Behind a sublayer, before its output is added to the residual stream."""

    def __init__(self, base: nn.Module, d_model: int, d_bottleneck: int) -> None:
        super().__init__()
        self.base, self.adapter = base, Bottleneck(d_model, d_bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.adapter(y)


class ParallelAdapter(nn.Module):
    """Beside a sublayer, reading what it reads: nothing waits for it. s = 4 was the best of the paper's section 4.5."""

    def __init__(self, base: nn.Module, d_model: int, d_bottleneck: int, scale: float = 4.0) -> None:
        super().__init__()
        self.base, self.adapter, self.scale = base, Bottleneck(d_model, d_bottleneck), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * self.adapter(x)


def add_serial_adapters(model: nn.Module, d_bottleneck: int = 8, patterns: Sequence[str] = SUBLAYERS) -> None:
    """Freeze the model but for its norms, and put an adapter behind each sublayer.

    The norms are trained as well, they are small (section 2.1). UserError as `add`.
    """
    add(model, SerialAdapter, d_bottleneck, patterns)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.requires_grad_(True)


def add_parallel_adapters(model: nn.Module, d_bottleneck: int = 16, patterns: Sequence[str] = SUBLAYERS[1:]) -> None:
    """Freeze the model, and put an adapter beside each feed-forward network. UserError as `add`."""
    add(model, ParallelAdapter, d_bottleneck, patterns)


def add(model: nn.Module, kind: type[nn.Module], d_bottleneck: int, patterns: Sequence[str]) -> None:
    """UserError for a pattern that matches nothing, and a middle that is not narrower than the model."""
    names = chosen((name for name, _ in model.named_modules() if name), patterns)
    d_model = model.config.d_model
    if not 1 <= d_bottleneck < d_model:
        raise UserError(f"d_bottleneck = {d_bottleneck} should be from 1 to {d_model - 1}: the model is {d_model} wide")
    freeze(model)
    for name in names:
        wrap(model, name, lambda base: kind(base, d_model, d_bottleneck).to(next(base.parameters())))
