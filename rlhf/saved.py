"""Models of the three stages on disk: each with the words that it knows, so that none meets another language."""

from collections.abc import Callable
from pathlib import Path

import torch.nn as nn

from common import checkpoint
from common.command import UserError
from rlhf.language import WORDS
from rlhf.scorer import RewardModel

POLICY, REWARD_MODEL = "language model", "reward model"


def save(model: nn.Module, kind: str, sizes: dict[str, int | float], run: Path) -> None:
    """Write best.pt; kind: POLICY or REWARD_MODEL; sizes: what `build` of `load` makes the language model from."""
    checkpoint.save({"kind": kind, "sizes": sizes, "words": list(WORDS), "model": model.state_dict()}, run / "best.pt")


def load(folder: Path, kind: str, build: Callable[[dict], nn.Module]) -> tuple[nn.Module, dict[str, int | float]]:
    """The model of a finished run, dropout off, and its sizes. UserError for another kind, and another vocabulary."""
    state = checkpoint.load(folder / "best.pt")
    if "kind" not in state:
        raise UserError(f"{folder} was not finished here: go on with it by --resume, or train another one")
    if state["kind"] != kind:
        raise UserError(f"{folder} holds a {state['kind']}, and a {kind} is needed")
    if state["words"] != list(WORDS):
        raise UserError(f"the {kind} in {folder} has another vocabulary: {len(state['words'])} words, not these "
                        f"{len(WORDS)}; its scores would mean nothing here")
    model = build(state["sizes"])
    model = RewardModel(model) if kind == REWARD_MODEL else model
    checkpoint.load_weights(model, folder / "best.pt")
    return model.eval(), state["sizes"]
