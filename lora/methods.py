"""The ways to adapt a model, by name: what each of them does to it, and how fast what it adds learns.

The learning rates are the best of a few that were tried for each method with seeds, and on sentences, that no reported
figure looks at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn as nn

from lora.adapter import add_parallel_adapters, add_serial_adapters
from lora.lora import add_lora
from lora.prefix_tuning import add_prefix
from lora.prompt_tuning import add_soft_prompt
from lora.wrapping import freeze


@dataclass(frozen=True)
class Sizes:
    """How much each method adds."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    d_bottleneck: int


@dataclass(frozen=True)
class Method:
    """change(model, sizes, words) makes the model ready, and returns the tokens that every row is to begin with.

    words: as many tokens of the examples as prompt and prefix have places; there they begin.
    """

    change: Callable[[nn.Module, Sizes, Sequence[int]], list[int] | None]
    lr: float  # of AdamW


METHODS: dict[str, Method] = {
    "full": Method(lambda model, sizes, words: None, 1e-3),  # everything is trained
    "head": Method(lambda model, sizes, words: freeze(model), 1e-2),  # nothing but the new layer
    "lora": Method(lambda model, sizes, words: add_lora(model, sizes.targets, sizes.rank, sizes.alpha), 5e-3),
    "serial-adapter": Method(lambda model, sizes, words: add_serial_adapters(model, sizes.d_bottleneck), 1e-2),
    "parallel-adapter": Method(lambda model, sizes, words: add_parallel_adapters(model, sizes.d_bottleneck), 5e-3),
    "prompt": Method(lambda model, sizes, words: add_soft_prompt(model, words), 1e-2),
    "prefix": Method(lambda model, sizes, words: add_prefix(model, words), 2e-2),
}
