"""How the methods of this package change a model from outside: find modules by name, put others in their place.

None of them needs a line in the models. What was there stays inside the new module, frozen, as its `base`.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import torch.nn as nn

from common.command import UserError
from common.hub import any_layer


def matches(name: str, pattern: str) -> bool:
    """Does the dotted name end with the pattern? `*` stands for anything.

    >>> matches("blocks.0.attention.out", "attention.out"), matches("blocks.0.cross_attention.out", "attention.out")
    (True, False)
    >>> matches("blocks.0.cross_attention.out", "out"), matches("blocks.0.cross_attention.out", "*.0.*")
    (True, True)
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def chosen(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that some pattern matches, in their order. UserError for a pattern that matches none."""
    names = list(names)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            could = ", ".join(dict.fromkeys(map(any_layer, names)))
            raise UserError(f"{pattern!r} matches nothing in this model; there are: {could or 'no such modules'}")
    return [name for name in names if any(matches(name, pattern) for pattern in patterns)]


def wrap(model: nn.Module, name: str, make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Put make(module) in the place of the module called `name`, and return it."""
    outer, _, inner = name.rpartition(".")
    new = make(model.get_submodule(name))
    setattr(model.get_submodule(outer), inner, new)
    return new


def freeze(model: nn.Module) -> None:
    """No parameter is trained any more, until something new comes."""
    model.requires_grad_(False)


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What an optimizer should be given. UserError when everything is frozen."""
    found = [p for p in model.parameters() if p.requires_grad]
    if not found:
        raise UserError("every parameter is frozen: there is nothing to train")
    return found


def trainable_line(model: nn.Module) -> str:
    """How many parameters are trained, of how many, and what share that is; tied ones count once.

    >>> both = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 1, bias=False))
    >>> freeze(both[0])
    >>> trainable_line(both)
    'trainable: 9 of 99 parameters, 9.09 %'
    """
    n = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return f"trainable: {n:,} of {total:,} parameters, {100 * n / total:.2f} %"
