"""One call for every published model that minigpt knows."""

from pathlib import Path

from common import hub
from common.command import UserError
from minigpt.llama import Llama
from minigpt.model import GPT
from minigpt.qwen3 import Qwen3

MODELS = {model.layout.constants["model_type"]: model for model in (GPT, Llama, Qwen3)}


def load(directory: str | Path) -> GPT:
    """The model of a directory of the Hugging Face layout, of the class that its `model_type` names, dropout off.

    UserError when it is none of ours, and as common/hub.py.
    """
    kind = hub.model_type(Path(directory))
    if kind not in MODELS:
        raise UserError(f"{directory} holds a model of type {kind!r}; known here are {', '.join(MODELS)}")
    return MODELS[kind].from_pretrained(directory)
