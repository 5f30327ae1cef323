"""Files of weights as they are published: safetensors, whole or in several parts, and the pickles that came before."""

import json
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from common import checkpoint
from common.command import UserError

INSTALL = 'needs the package safetensors: pip install -c constraints.txt -e ".[hub]"'


def write(tensors: dict[str, Tensor], path: Path) -> None:
    """A file of safetensors, whole or not at all; its folder is made. UserError when the system refuses."""
    if not find_spec("safetensors"):
        raise UserError(f"writing {path.name} {INSTALL}")
    import safetensors.torch

    def write(part: Path) -> None:
        try:
            safetensors.torch.save_file(plain, part, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:  # its word for a full disk
            raise OSError(error) from error

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the directory {path.parent} cannot be made ({error.strerror})") from error
    checkpoint.write_atomically(path, write)


def read(directory: Path, safe: str, pickled: str) -> tuple[Path, dict[str, Tensor]]:
    """The file of weights and what it holds: `safe`, or else `pickled`, which is read without running code in it.

    Large models are cut into several files, and an index names them. Safetensors are mapped, not read, so they take no
    second memory. UserError for what is missing, damaged, or holds more than tensors.
    """
    path, index = directory / safe, directory / f"{safe}.index.json"
    whole = index if index.is_file() and not path.is_file() else path
    if whole.is_file() and find_spec("safetensors"):
        import safetensors.torch
        part = whole
        errors = safetensors.SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError
        try:
            names = set(json.loads(index.read_bytes())["weight_map"].values()) if whole == index else {path.name}
            tensors = {}
            for name in sorted(names):
                part = directory / Path(name).name  # an index names files of its own folder
                tensors |= safetensors.torch.load_file(part)
            return whole, tensors
        except errors as error:
            raise UserError(f"{part} is missing or damaged: it cannot be read as safetensors") from error
    path = directory / pickled
    if not path.is_file():
        raise UserError(f"reading {whole} {INSTALL}" if whole.is_file() else
                        f"{directory} holds neither {safe} nor {pickled}")
    tensors = checkpoint.load(path)
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"{path} is not a checkpoint of a model: it holds more than named tensors")
    return path, tensors
