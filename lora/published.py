"""LoRAs as the library `peft` keeps them: adapter_config.json beside adapter_model.safetensors.

The names are those of the published model (common/hub.py translates them), so an adapter made here opens there on the
same base, and theirs here. Where Q, K and V are three matrices there, each has a pair of its own, as here. GPT-2 keeps
them in one, and `peft` knows one pair for it. So Q's and V's own pairs are written as one of rank 2r: A has A_q above
A_v; B has B_q at the top left, B_v at the bottom right, and zeros elsewhere (K's rows too). Read back, it stays one.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from common import checkpoint, weight_files
from common.command import UserError
from common.hub import any_layer
from lora.lora import ALL, LoRA, LowRank, as_out_in, check, loras, put, refuse_twice, targets
from lora.wrapping import freeze

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."  # stands before every name in the file
ENDS = {False: (".lora_A.weight", ".lora_B.weight"), True: (".lora_embedding_A", ".lora_embedding_B")}  # of a table?
COPY = ".base_layer.weight"  # `peft` keeps beside the pair of a table of vectors the table itself
OTHER_METHODS = ("use_dora", "use_rslora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "arrow_config",
                 "kasa_config", "monteclora_config", "alora_invocation_tokens", "layer_replication",
                 "target_parameters", "trainable_token_indices")
STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # of A and B; others change W as well (PiSSA, OLoRA ...)
NEVER_CALLED = "shared"  # T5's table: in `transformers` its two stacks look into copies, so a pair there does nothing


def save_adapter(model: nn.Module, directory: str | Path, base: str = "") -> None:
    """Write the LoRAs of a model, and nothing else of it. base: where the model itself is found, for the reader.

    UserError when the model has no LoRA, or one that the published model has no place for, or when the system refuses.
    """
    tensors, ranks, alphas = {}, {}, {}
    for name, layer in loras(model).items():
        if not published(model, name, layer.base):
            raise UserError(f"the LoRA of {name} cannot be saved: it has no place of its own in the published form")
        for theirs, (_, rows) in published(model, name, layer.base).items():
            A, B, scale = as_one_pair(layer, rows)
            if len(A):
                ends = ENDS[isinstance(layer.base, nn.Embedding)]
                tensors |= {f"{PREFIX}{theirs}{end}": tensor for end, tensor in zip(ends, (A, B))}
                ranks[theirs], alphas[theirs] = len(A), scale * len(A)
    r, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base, "inference_mode": True,
        "r": r, "rank_pattern": {name: other for name, other in ranks.items() if other != r},
        "lora_alpha": alpha, "alpha_pattern": {name: other for name, other in alphas.items() if other != alpha},
        "lora_dropout": next(iter(loras(model).values())).dropout.p, "target_modules": list(ranks),
        "fan_in_fan_out": bool(hasattr(model, "layout") and model.layout.transposed),  # GPT-2's kind of matrix
        "bias": "none"}
    directory, text = Path(directory), json.dumps(config, indent=2) + "\n"
    weight_files.write(tensors, directory / WEIGHTS)
    checkpoint.write_atomically(directory / CONFIG, lambda part: part.write_text(text, encoding="utf-8"))


def as_one_pair(layer: LoRA, rows: slice) -> tuple[Tensor, Tensor, float]:
    """What all pairs of a layer say of some of its outputs, as one: A (R, d_in), B (number of rows, R), alpha / R.

    R is the sum of their ranks, 0 where no pair has any of the rows.
    """
    size, scale = rows.stop - rows.start, next(iter(layer.pairs.values())).scale
    As, Bs = [], []
    for name, pair in layer.pairs.items():
        own = layer.rows[name]
        start, stop = max(own.start, rows.start), min(own.stop, rows.stop)
        if start < stop:
            B = pair.B.new_zeros(size, pair.B.shape[1])
            B[start - rows.start : stop - rows.start] = pair.B.detach()[start - own.start : stop - own.start]
            As.append(pair.A.detach())
            Bs.append(B * (pair.scale / scale))
    if not As:
        return layer.base.weight.new_zeros(0, 0), layer.base.weight.new_zeros(size, 0), scale
    return torch.cat(As), torch.cat(Bs, dim=1), scale


def load_adapter(model: nn.Module, directory: str | Path) -> None:
    """Freeze the model, and put LoRAs around the layers that the adapter in `directory` has pairs for.

    UserError for a file that is missing, damaged, holds code or another method, or belongs to another base: then the
    first tensor that has no place is named.
    """
    refuse_twice(model)
    config = read_config(Path(directory) / CONFIG)
    path, tensors = weight_files.read(Path(directory), WEIGHTS, PICKLED)
    places = {bare(model, theirs): (name, part, rows) for name, (layer, of_layer, _) in targets(model).items()
              if of_layer == ALL for theirs, (part, rows) in published(model, name, model.get_submodule(layer)).items()}
    found: dict[str, dict[str, tuple[slice, LowRank]]] = defaultdict(dict)
    for theirs, (A, B) in pairs_of(tensors, path).items():
        if bare(model, theirs) not in places:
            raise UserError(f"{path} holds a pair for {theirs}, which this model has not: it belongs to another base")
        layer, part, rows = places[bare(model, theirs)]
        weight, d_out = as_out_in(model.get_submodule(layer)), rows.stop - rows.start
        if A.shape[1] != weight.shape[1] or B.shape[0] != d_out or A.shape[0] != B.shape[1]:
            raise UserError(f"{path}: the pair for {theirs} is {tuple(A.shape)} and {tuple(B.shape)}, and the matrix "
                            f"here {(d_out, weight.shape[1])}: it belongs to another base")
        check(model, theirs, layer, rows, len(A))
        here = model.get_submodule(layer).weight
        if not tensors.get(f"{PREFIX}{theirs}{COPY}", here).to(here).equal(here):
            raise UserError(f"{path} holds a copy of {theirs}, and here it is another one: it belongs to another base")
        pair = LowRank(weight.shape[1], d_out, len(A), alpha_of(theirs, config), weight)
        pair.load_state_dict({"A": A, "B": B})
        found[layer][part] = rows, pair
    freeze(model)
    for layer, parts in found.items():
        put(model, layer, {part: rows for part, (rows, _) in parts.items()},
            {part: pair for part, (_, pair) in parts.items()}, float(config.get("lora_dropout", 0.0)))


def published(model: nn.Module, name: str, layer: nn.Module) -> dict[str, tuple[str, slice]]:
    """The published matrices of a layer: name -> what the part is called here, and which outputs of the layer it has.

    A model that is none of ours keeps its own names. A layer that is not published has none.
    """
    d_out = as_out_in(layer).shape[0]
    if not hasattr(model, "layout"):
        return {name: (ALL, slice(0, d_out))}
    theirs = model.layout.translate(name) if any_layer(name) in model.layout.modules else ()
    if theirs == (NEVER_CALLED,):
        return {}
    if len(theirs) == 1:
        return {theirs[0]: (ALL, slice(0, d_out))}
    return {one: (part, slice(start, start + size)) for one, part, size, start in zip(
        theirs, layer.names, layer.parts, torch.tensor([0, *layer.parts]).cumsum(0).tolist())} if theirs else {}


def bare(model: nn.Module, name: str) -> str:
    """Without the prefix that some published forms of a model have and others have not."""
    return model.layout.bare(name) if hasattr(model, "layout") else name


def pairs_of(tensors: dict[str, Tensor], path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Published name -> A and B. UserError for a tensor that is neither, or stands alone."""
    found: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if name.endswith(COPY):
            continue
        end, i = next(((end, i) for ends in ENDS.values() for i, end in enumerate(ends) if name.endswith(end)), ("", 0))
        if not end or not name.startswith(PREFIX) or tensor.ndim != 2:
            raise UserError(f"{path} holds {name} {tuple(tensor.shape)}, which is no part of a LoRA")
        found[name.removeprefix(PREFIX).removesuffix(end)][i] = tensor
    if not found:
        raise UserError(f"{path} holds no tensors")
    if alone := next((name for name, pair in found.items() if len(pair) < 2), None):
        raise UserError(f"{path}: {alone} has {'AB'[next(iter(found[alone]))]} alone; a LoRA has A and B")
    return {name: (pair[0], pair[1]) for name, pair in found.items()}


def alpha_of(name: str, config: dict) -> float:
    """alpha of a matrix: that of the first pattern in the file that its name ends with, else that of all."""
    of_pattern = (alpha for pattern, alpha in (config.get("alpha_pattern") or {}).items()
                  if re.match(rf"(.*\.)?({pattern})$", name))
    return float(next(of_pattern, config["lora_alpha"]))


def read_config(path: Path) -> dict:
    """adapter_config.json. UserError when it is not there, is damaged, or means another method than LoRA."""
    try:
        config = json.loads(checkpoint.read_text(path))
        patterns = config.get("alpha_pattern") or {}
        alphas = [float(alpha) for alpha in (config["lora_alpha"], *patterns.values())]
        usable = min(alphas) > 0 and 0 <= float(config.get("lora_dropout", 0.0)) < 1
        for pattern in patterns:
            re.compile(pattern)
    except (ValueError, KeyError, TypeError, AttributeError, re.error):
        usable = False
    if not usable:
        raise UserError(f"{path} is not the description of a LoRA: lora_alpha, alpha_pattern or lora_dropout is "
                        "missing, or no sensible number")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        raise UserError(f"{path} says peft_type = {config.get('peft_type')!r}, bias = {config.get('bias')!r}; "
                        "known here are 'LORA' and 'none'")
    if other := next((name for name in OTHER_METHODS if config.get(name)), None):
        raise UserError(f"{path} says {other} = {config[other]!r}; that is more than LoRA, and not known here")
    if (start := config.get("init_lora_weights", True)) not in STARTS:
        raise UserError(f"{path} says init_lora_weights = {start!r}; that changes the base too, and is not known here")
    return config
