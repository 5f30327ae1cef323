"""Published checkpoints: the Hugging Face layout, config.json beside model.safetensors (older: pytorch_model.bin).

This file knows no model. A model package says in a `Layout` what its published form calls things. `views` shows the
parameters cut and named like that, in the model's own memory; `save` writes the views, `load` copies a file into them
(common/weight_files.py). So nothing can be right in one direction and wrong in the other, and tied parameters stay
tied: none is replaced.
"""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args, get_type_hints

import torch.nn as nn
from torch import Tensor

from common import checkpoint, weight_files
from common.command import UserError


@dataclass(frozen=True)
class Layout:
    """How a model is published. Names of tensors stand here without `prefix`, except in `modules`."""

    architecture: str  # the class of `transformers` that opens it
    modules: dict[str, str | tuple[str, ...]]  # our module -> theirs, {i} a layer; several: ours is their Stacked one
    # our config field -> theirs; several: all are written, the first one there is read; a dot leads into an object
    config: dict[str, str | tuple[str, ...]]
    constants: dict[str, object]  # fields of config.json that allow one value here; an absent one has that value
    words: dict[str, dict[object, str]] = field(default_factory=dict)  # our config field -> our value -> their word
    prefix: str = ""  # stands before the names of the base model, in some files and not in others
    respelled: dict[str, str] = field(default_factory=dict)  # ends of names in old files -> the ends of today
    copies: dict[str, str] = field(default_factory=dict)  # a tensor that some files repeat -> the one it repeats
    stands_in: dict[str, str] = field(default_factory=dict)  # a tensor that a file may lack -> the one to take for it
    left_out: frozenset[str] = frozenset()  # tensors, {i} a layer, that a file may hold and this model does not read
    optional: frozenset[str] = frozenset()  # tensors that a file may lack, if it lacks all of them
    transposed: frozenset[str] = frozenset()  # our modules, {i} a layer, whose weight is published as (in, out)

    def translate(self, module: str) -> tuple[str, ...]:
        """The published modules of one of ours: `blocks.3.qkv` -> (`layer.3.query`, `layer.3.key`, `layer.3.value`)."""
        layer = re.search(r"\.(\d+)\.", module)
        if any_layer(module) not in self.modules:
            raise UserError(f"{self.architecture} has no name for {module}: what a LoRA or an adapter adds is saved by "
                            "itself; take it out of the model first")
        return tuple(name.format(i=layer and layer[1]) for name in as_tuple(self.modules[any_layer(module)]))

    def bare(self, name: str) -> str:
        """A published name as it is without the prefix and in the spelling of today."""
        name = name.removeprefix(self.prefix)
        old = next((end for end in self.respelled if name.endswith(end)), None)
        return name if old is None else name.removesuffix(old) + self.respelled[old]


def any_layer(name: str) -> str:
    """`blocks.3.qkv` -> `blocks.{i}.qkv`"""
    return re.sub(r"(?<=\.)\d+(?=\.)", "{i}", name, count=1)


def as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def views(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The parameters of `model` under their published names: what is written into a view is written into the model."""
    found = {}
    for name, parameter in model.named_parameters():  # a tied parameter comes once, under its first name
        module, _, kind = name.rpartition(".")
        names = [f"{theirs}.{kind}" for theirs in layout.translate(module)]
        pieces = parameter.detach().split(model.get_submodule(module).parts if len(names) > 1 else len(parameter))
        turn = kind == "weight" and any_layer(module) in layout.transposed
        found.update((theirs, piece.T if turn else piece) for theirs, piece in zip(names, pieces, strict=True))
    return found


def save(model: nn.Module, layout: Layout, directory: Path, labels: Sequence[str] = ()) -> None:
    """Write config.json and model.safetensors, each whole or not at all. UserError when the system refuses.

    labels: what the outputs of a fine-tuned model mean, in their order.
    """
    config = {"architectures": [layout.architecture]}
    values = {ours: getattr(model.config, ours) for ours in layout.config}
    values |= {ours: words[values[ours]] for ours, words in layout.words.items()}
    named = [(name, values[ours]) for ours, theirs in layout.config.items() for name in as_tuple(theirs)]
    for name, value in [*layout.constants.items(), *named]:
        outer, _, inner = name.rpartition(".")
        (config.setdefault(outer, {}) if outer else config)[inner] = value
    if labels:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    text = json.dumps(config, indent=2) + "\n"
    weight_files.write(views(model, layout), directory / "model.safetensors")
    checkpoint.write_atomically(directory / "config.json", lambda part: part.write_text(text, encoding="utf-8"))


def load(model_class: Callable, config_class: Callable, layout: Layout, directory: Path) -> nn.Module:
    """`model_class(config_class(...))` as `directory` has it, dropout off (`.eval()`), as `transformers` does it.

    UserError for a missing or damaged file, another kind of model, a tensor that is missing, superfluous or misshapen.
    """
    fields, saved_as = _read_config(directory, config_class, layout)
    path, tensors = weight_files.read(directory, "model.safetensors", "pytorch_model.bin")
    try:
        model = model_class(config_class(**fields))
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{directory / 'config.json'} does not fit together: {str(error).splitlines()[0]}") from error
    _fill(views(model, layout), tensors, layout, f"{path} (saved as {saved_as})")
    return model.eval()


def model_type(directory: Path) -> str:
    """The kind of model that `directory` holds, as its config.json says. UserError when there is none."""
    return str(_published_config(directory)["model_type"])


def published_labels(directory: Path) -> list[str]:
    """The labels of a fine-tuned model, in their order; `transformers` leaves out the two that it has by itself."""
    named = _published_config(directory).get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        labels = {int(i): str(label) for i, label in named.items()}
        return [labels[i] for i in range(len(labels))]
    except (KeyError, ValueError, AttributeError):
        raise UserError(f"{directory / 'config.json'} has no labels 0, 1, 2 ... (id2label)") from None


def _fill(places: dict[str, Tensor], tensors: dict[str, Tensor], layout: Layout, file: str) -> None:
    """Copy the tensors of a file into the views of a model, when each tensor has a place and each place a tensor."""
    ours = {layout.bare(name): name for name in places}
    stored = {}  # the tensors under the names of `places`, whatever prefix and spelling the file has
    for name, tensor in tensors.items():
        bare = layout.bare(name)
        known = bare in ours or bare in layout.copies or any_layer(bare) in layout.left_out
        if not known or ours.get(bare, bare) in stored:
            raise UserError(f"{file} holds {name} {tuple(tensor.shape)}, which has no place in {layout.architecture}")
        stored[ours.get(bare, bare)] = tensor
    for name, other in layout.stands_in.items():
        if name in ours and ours[name] not in stored and ours[other] in stored:
            stored[ours[name]] = stored[ours[other]]
    absent = [name for name in places if name not in stored]
    if absent and {layout.bare(name) for name in absent} == layout.optional:
        warnings.warn(f"{file} lacks {' and '.join(absent)}: random until trained", stacklevel=4)
    elif absent:
        raise UserError(f"{file} lacks {absent[0]} {tuple(places[absent[0]].shape)}, which {layout.architecture} needs")
    for name, place in places.items():
        if name in stored and stored[name].shape != place.shape:
            raise UserError(f"{file}: {name} is {tuple(stored[name].shape)}, expected {tuple(place.shape)}")
    for copy, original in layout.copies.items():
        if copy in stored and copy not in ours and not stored[copy].equal(stored[ours[original]]):
            raise UserError(f"{file}: {copy} differs from {ours[original]}; here the two are one parameter")
    for name in places.keys() - absent:
        places[name].copy_(stored[name])  # float16 becomes float32 here


def _published_config(directory: Path) -> dict:
    """config.json as it is."""
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory; to fetch a published model: hf download NAME --local-dir DIR")
    path = directory / "config.json"
    try:
        published = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON") from error
    if not isinstance(published, dict) or "model_type" not in published:
        raise UserError(f"{path} is not the config.json of a published model: it names no model_type")
    return published


def _read_config(directory: Path, config_class: Callable, layout: Layout) -> tuple[dict, object]:
    """The model's fields of config.json under our names (an absent one keeps our default), and its `architectures`."""
    published, path = _published_config(directory), directory / "config.json"
    inner = {f"{name}.{key}": value for name, values in published.items() if isinstance(values, dict)
             for key, value in values.items()}
    published |= inner
    for name, value in layout.constants.items():
        if published.get(name, value) != value:
            raise UserError(f"{path} says {name} = {published[name]!r}; this {layout.architecture} has {value!r} only")
    theirs = {ours: next((name for name in as_tuple(names) if name in published), None)
              for ours, names in layout.config.items()}
    fields = {ours: published[name] for ours, name in theirs.items() if name is not None}
    if isinstance(ends := fields.get("eos_id"), list) and ends:  # LLaMA 3 Instruct has three; the first is kept
        fields["eos_id"] = ends[0]
    for ours, words in layout.words.items():
        known = {word: value for value, word in words.items()}
        if ours not in fields:
            continue
        if not isinstance(fields[ours], str) or fields[ours] not in known:
            raise UserError(f"{path} says {theirs[ours]} = {fields[ours]!r}; known here are {', '.join(known)}")
        fields[ours] = known[fields[ours]]
    kinds = get_type_hints(config_class)
    for ours, value in fields.items():
        may_be_null = value is None and type(None) in get_args(kinds[ours])  # where None means something to us as well
        if not isinstance(value, (int, float)) and not may_be_null:
            raise UserError(f"{path} says {theirs[ours]} = {value!r}, which is not a number")
    return fields, published.get("architectures", "an unknown class")
