"""Settings as a frozen dataclass: typed once, read from the command line, kept as JSON beside the run."""

import argparse
import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from common.checkpoint import write_atomically
from common.command import UserError

Config = TypeVar("Config")


def option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of a config: its default, the line that `--help` shows, the least and the greatest sensible value."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message} (--help lists every flag)")


def parser(config: type, description: str | None) -> argparse.ArgumentParser:
    """A parser with one flag for each field of the dataclass: field `batch_size` is `--batch-size`.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Run:
    ...     steps: int = option(100, "how many steps")
    >>> parser(Run, None).parse_args(["--steps", "7"])
    Namespace(steps=7)
    """
    made = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind, flag = _plain(hints[field.name]), "--" + field.name.replace("_", "-")
        text = field.metadata.get("help", "").replace("%", "%%") + " (default: %(default)s)"
        how = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": kind.__name__.upper()}
        made.add_argument(flag, default=field.default, help=text, **how)
    return made


def parse(config: type[Config], argv: list[str] | None, description: str | None = None) -> Config:
    """The command line as an instance of `config`. Raises UserError for a flag it does not have, and as `from_dict`."""
    return from_dict(config, vars(parser(config, description).parse_args(argv)), "command line")


def from_dict(config: type[Config], values: dict[str, Any], source: str) -> Config:
    """The dataclass from plain values. Raises UserError for an unknown key, another type, a value out of range."""
    hints, fields = typing.get_type_hints(config), config.__dataclass_fields__
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"{source}: unknown setting {name!r}; known are {', '.join(hints)}")
        kind = hints[name]
        fits = isinstance(value, kind) or (_plain(kind) is float and type(value) is int)
        if not fits or (isinstance(value, bool) and _plain(kind) is not bool):  # True is an int for Python
            raise UserError(f"{source}: {name} = {value!r} should be of type {getattr(kind, '__name__', kind)}")
        low, high = (fields[name].metadata.get(end) for end in ("low", "high"))
        if value is not None and not ((low is None or value >= low) and (high is None or value <= high)):  # NaN is out
            raise UserError(f"{source}: {name} = {value} should be "
                            + (f"at least {low}" if high is None else f"from {low} to {high}"))
    return config(**values)


def write_json(config: Any, path: Path) -> None:
    text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(config: type[Config], path: Path) -> Config:
    """What `write_json` wrote. Raises UserError for a missing or damaged file and for unknown keys."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not hold settings")
    return from_dict(config, values, str(path))


def _plain(hint: Any) -> Any:
    """`int` of `int | None`."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint
