"""How a command ends."""

import sys
from pathlib import Path

import pytest

from common.command import UserError, command, python


@pytest.mark.parametrize(("raised", "code", "line"), [
    (UserError("the file is not there"), 2, "error: the file is not there\n"),
    (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device\n"),
    (KeyboardInterrupt(), 130, ""),
])
def test_exit_code_and_one_line(raised, code, line, capsys):
    @command
    def main(argv):
        raise raised

    with pytest.raises(SystemExit) as ended:
        main([])
    assert (ended.value.code, capsys.readouterr().err) == (code, line), "one clear line, and no traceback"


def test_a_bug_keeps_its_traceback():
    @command
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_how_this_python_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv" / "bin" / "python"))
    assert python() == ".venv/bin/python", "what `make` uses is not on the PATH of whoever typed it"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert python() == "python"
