"""What a method has trained, and nothing else: the file that is handed on in the place of a whole model."""

from pathlib import Path

import torch
import torch.nn as nn

from common import checkpoint
from common.command import UserError


def save_trained(model: nn.Module, path: Path) -> None:
    """The parameters that are trained, under their names."""
    trained = {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}
    checkpoint.save({"trained": trained}, path)


@torch.no_grad()
def load_trained(model: nn.Module, path: Path) -> None:
    """Put them into a model that the same method has changed in the same way.

    UserError, naming the first one, when something is missing, left over, or of another shape.
    """
    saved = checkpoint.load(path).get("trained", {})
    places = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name in [*places, *saved]:
        here, there = (tuple(some[name].shape) if name in some else None for some in (places, saved))
        if here != there:
            raise UserError(f"{path} does not belong to this model: {name} is {there or 'missing'} there and "
                            f"{here or 'missing'} here")
    for name, p in places.items():
        p.copy_(saved[name])
