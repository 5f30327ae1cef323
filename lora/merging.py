"""The end of a LoRA: its product is added to the matrix, W <- W + (alpha / r) B A, and nothing is slower than before.

An adapter or a prefix has no such end (Hu et al. 2021, section 4.1, "No Additional Inference Latency").
"""

import torch.nn as nn

from lora.lora import loras
from lora.wrapping import wrap


def merge(model: nn.Module) -> None:
    """Add each product to its matrix, W <- W'. ValueError where that is done already."""
    _set_merged(model, True, "merged already: once more would make it W + 2 (alpha / r) B A")


def unmerge(model: nn.Module) -> None:
    """Take the products out of the matrices again, exact up to rounding. ValueError where they never were in."""
    _set_merged(model, False, "not merged: there is nothing to take out")


def _set_merged(model: nn.Module, merged: bool, refusal: str) -> None:
    found = loras(model)
    for name, layer in found.items():
        if layer.merged == merged:
            raise ValueError(f"{name} is {refusal}")
    for layer in found.values():
        layer.add_to_base(1 if merged else -1)
        layer.merged = merged


def unload(model: nn.Module) -> None:
    """Put the layers themselves back: after `merge` an ordinary model that has learned, otherwise the one it was.

    All of it stays frozen; `model.requires_grad_(True)` lets it be trained again.
    """
    for name in loras(model):
        wrap(model, name, lambda layer: layer.base)
