"""Files that are either whole or not there, and runs that can be continued."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from common.command import UserError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write(part)` fill a temporary file beside `path`, then rename it: `path` is the old file or the new one.

    A run that dies, or a disk that is full, in the middle of writing leaves the previous file as it was.
    Raises UserError when the system refuses (no space left, no permission).
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError of many lines
        reason = error if isinstance(error, OSError) else f"is the disk full? {str(error).splitlines()[0]}"
        raise UserError(f"{path} could not be written ({reason}); the previous one, if any, is intact") from error
    finally:
        with suppress(OSError):  # not there, or its folder is none: what went wrong above is the news
            part.unlink()


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises UserError when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from None


def save(state: dict, path: Path) -> None:
    """Write plain tensors and plain values."""
    write_atomically(path, lambda part: torch.save(state, part))


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what `save` wrote. Only plain tensors and values are accepted: a pickle can hold code, and never runs here.

    Raises UserError for a file that is missing, truncated, or holds anything else.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks about foreign pickles: the error below says it all
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a text taken for a pickle fails in as many ways as there are letters
        raise UserError(f"{path} was not opened: it is damaged, or holds more than plain tensors and values") from error
    return state


def check_name(name: str) -> None:
    """Raise UserError when a folder in runs/ cannot be called so."""
    if name in ("", "..") or Path(name).name != name:
        raise UserError(f"a run cannot be called {name!r}: its name is that of a folder")


def new_run(name: str) -> Path:
    """Make the folder runs/<name>, or runs/<name>-2, -3, ... where that is taken: no run ever overwrites another."""
    check_name(name)
    try:
        Path("runs").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder runs could not be made ({error})") from error
    n = 1
    while True:
        folder = Path("runs") / (name if n == 1 else f"{name}-{n}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            n += 1
        except OSError as error:
            raise UserError(f"{folder} could not be made ({error})") from error


def newest_run(name: str) -> Path:
    """The folder of the run of this name that was saved last. Raises UserError when there is none."""
    saved = list(Path("runs").glob(f"{name}*/best.pt"))
    if not saved:
        raise UserError(f"there is no trained model in runs/{name}* yet; train one first")
    return max(saved, key=lambda path: path.stat().st_mtime).parent


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put the weights of a saved run into `model`. Raises UserError, naming one that does not fit."""
    state = load(path)
    try:
        model.load_state_dict(state["model"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path} holds another model: {str(error).splitlines()[-1].strip()}") from error
