"""Each notebook is what its .py says, was executed, and carries nothing of the machine that executed it."""

import json
import re
import sys
from pathlib import Path

import pytest

from notebooks import build
from tests.oracle import oracle

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(path for path in FOLDER.glob("*.py") if path.read_text(encoding="utf-8").startswith("# %%"))
each = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
REBUILD = "make notebooks builds it anew"


def cells(path: Path) -> list[dict]:
    """The cells of the .ipynb beside a notebook's .py."""
    built = path.with_suffix(".ipynb")
    assert built.is_file(), f"{built.name} is missing; {REBUILD}"
    return json.loads(built.read_text(encoding="utf-8"))["cells"]


def test_there_are_notebooks():
    assert SOURCES
    orphans = {path.stem for path in FOLDER.glob("*.ipynb")} - {path.stem for path in SOURCES}
    assert not orphans, f"{orphans} have no .py, which is what people edit"


@each
def test_the_notebook_says_what_the_script_says(path):
    jupytext = oracle("jupytext")
    script = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    wanted = [(cell.cell_type, cell.source) for cell in script.cells]
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in cells(path)]
    for i, (want, have) in enumerate(zip(wanted, found, strict=False)):
        assert have == want, f"cell {i} of {path.stem}.ipynb is not that of {path.name}; {REBUILD}"
    assert len(found) == len(wanted), f"{path.stem}.ipynb has {len(found)} cells, {path.name} {len(wanted)}; {REBUILD}"


@each
def test_every_cell_was_executed_in_order_without_an_error(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), REBUILD
    outputs = [output for cell in code for output in cell["outputs"]]
    wrong = [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not wrong, f"the notebook should be free of errors and warnings: {wrong[0]}"
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture was kept"


@each
def test_nothing_of_the_machine_is_in_it(path):
    text = path.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert len(text) < 750_000, f"{len(text):,} bytes are too many to read on the web: fewer or smaller pictures"
    text = re.sub(r'"image/png": "[^"]*"', "", text)  # base64 may spell anything
    found = re.findall(r"(?:/(?:home|Users|root|tmp|work|private|opt|usr)/|[A-Z]:\\\\)[^\s\"']*", text)
    assert not found, f"paths of a machine: {found}"
    times = re.findall(r"\d{4}-\d\d-\d\dT\d\d:|iopub\.", text)
    assert not times, f"times of execution: {times}"


# ---- the builder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks of our own, in the place of notebooks/."""
    for name in ("jupytext", "nbclient", "ipykernel"):
        oracle(name)
    monkeypatch.setattr(build, "HERE", tmp_path)
    return tmp_path


def test_build_writes_the_same_bytes_twice_with_the_interpreter_that_runs_it(folder):
    (folder / "module.py").write_text("raise SystemExit\n")  # no percent script: left alone
    (folder / "one.py").write_text('# %% [markdown]\n# # One\n\n# %%\nimport os, sys\nprint(sys.executable)\n'
                                   'print(repr(os.environ["MINIFORMERS_SHORT"]))\n')
    build.main(["--short"])
    assert not list(folder.glob("*.ipynb")), "--short writes nothing"
    build.main([])
    first = (folder / "one.ipynb").read_bytes()
    printed = "".join(cells(folder / "one.py")[1]["outputs"][0]["text"])
    assert printed == f"{sys.executable}\n''\n"
    build.main([])
    assert (folder / "one.ipynb").read_bytes() == first


def test_a_cell_that_fails_is_named(folder, capsys):
    (folder / "bad.py").write_text("# %%\nx = 1\n\n# %%\nx / 0\n\n# %%\nprint('never')\n")
    with pytest.raises(SystemExit) as stop:
        build.main([])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and len(error.splitlines()) == 1
    assert "bad.py, cell 1 (x / 0): ZeroDivisionError: division by zero" in error
    assert not list(folder.glob("*.ipynb")), "nothing is written"


def test_a_missing_extra_is_one_clear_line(folder, capsys, monkeypatch):
    (folder / "one.py").write_text("# %%\n1\n")
    monkeypatch.setitem(sys.modules, "jupytext", None)
    with pytest.raises(SystemExit) as stop:
        build.main([])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: notebooks need jupytext:  pip install")
