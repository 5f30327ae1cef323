"""How a command ends: a user's mistake is one clear line and exit code 2, Ctrl-C is exit code 130."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """Something that the user can mend (a missing file, an unknown task); its text is the one line they see."""


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate `main(argv)`: UserError ends it with one line on stderr and exit code 2, without a traceback.

    So does what the system refuses (no space left, no permission), which reaches us as an OSError.
    """
    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> None:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a pipe on Windows has no "✓" and no Korean: better "?" than an end
                stream.reconfigure(errors="replace")
        try:
            main(argv)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:  # the trainer has saved by now and said how to go on
            raise SystemExit(130) from None
    return run


def python() -> str:
    """How to call this Python from here: `.venv/bin/python` where it lies in this folder, else `python`."""
    try:
        return Path(sys.executable).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return "python"
