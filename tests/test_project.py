"""Promises around the code: pinned versions, make targets, the README's commands, when a test may skip."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"help", "train-minibert", "train-minigpt", "train-minit5", "lecture", "lora", "rlhf", "test", "lint",
           "bench", "weights", "notebooks", "clean"}


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def pins() -> list[Requirement]:
    return [Requirement(line) for line in lines("constraints.txt") if line and not line.startswith("#")]


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# ---- versions


def test_every_line_of_constraints_pins_one_version():
    loose = [str(pin) for pin in pins() if not re.fullmatch(r"==[^*,]+", str(pin.specifier))]
    assert not loose, f"constraints.txt must say name==version, but has {loose}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_once(python):
    project = pyproject()["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    here = {"python_version": python, "python_full_version": python + ".0"}
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate(here):
            continue
        name = canonicalize_name(requirement.name)
        found = [pin for pin in pins() if canonicalize_name(pin.name) == name]
        found = [str(pin) for pin in found if pin.marker is None or pin.marker.evaluate(here)]
        assert len(found) == 1, f"Python {python}: one pin expected for {name}, got {found}"


def test_torch_and_the_build_tool_are_the_expected_ones():
    text = {str(pin) for pin in pins()}
    assert "torch==2.13.0" in text
    assert set(pyproject()["build-system"]["requires"]) <= text, "pyproject.toml and constraints.txt differ"


# ---- make


def makefile_targets() -> set[str]:
    return {m[1] for line in lines("Makefile") if (m := re.match(r"([a-z0-9-]+):(?!=)", line))}


def make(*arguments: str) -> subprocess.CompletedProcess:
    if os.name == "nt" or shutil.which("make") is None:
        pytest.skip("no make here; the Python commands do the same")
    # `make test ARGS=...` hands its variables down; this make must start fresh
    handed_down = ("MAKE", "MFLAGS", "ARGS", "CORPUS")
    env = {k: v for k, v in os.environ.items() if not k.startswith(handed_down)}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_make_help_lists_every_target_and_no_other():
    listed = set(re.findall(r"^  make ([a-z0-9-]+)", make().stdout, flags=re.M))
    assert listed == makefile_targets(), "every target wants a `## description`, and help is the default"
    assert listed >= TARGETS


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train-minibert"], "-m minibert.pretrain"),
        (["train-minibert", "CORPUS=my text.txt"], '-m minibert.pretrain --corpus "my text.txt"'),
        (["train-minibert", "ARGS=--seed 1"], "-m minibert.pretrain --seed 1"),
        (["train-minigpt"], "-m minigpt.train"),
        (["train-minigpt", "CORPUS=my text.txt"], '-m minigpt.train --corpus "my text.txt"'),
        (["train-minigpt", "ARGS=--tokens characters"], "-m minigpt.train --tokens characters"),
        (["train-minit5"], "-m minit5.pretrain"),
        (["train-minit5", "CORPUS=my text.txt"], '-m minit5.pretrain --corpus "my text.txt"'),
        (["test", "ARGS=-k mask"], "-m pytest -k mask"),
        (["weights"], "-m tests.fetch_weights"),
        (["notebooks", "ARGS=--short"], "-m notebooks.build --short"),
    ],
)
def test_make_runs_the_python_command(arguments, command):
    dry = make("-n", *arguments)
    assert dry.returncode == 0, dry.stderr
    last = " ".join(dry.stdout.splitlines()[-1].split())
    assert last == f".venv/bin/python {command}"


def test_make_bench_runs_all_benchmarks():
    dry = make("-n", "bench", "ARGS=--short")
    assert dry.returncode == 0, dry.stderr
    came = [" ".join(line.split()) for line in dry.stdout.splitlines() if "tests.benchmarks" in line]
    packages = ("minibert", "minigpt", "minit5", "lora")
    assert came == [f".venv/bin/python -m tests.benchmarks.bench_{name} --short" for name in packages]
    assert all(exists(line.split()[2]) for line in came), f"a benchmark is not there: {came}"


def test_no_command_of_a_target_is_silenced():
    silenced = [line for line in lines("Makefile") if re.match(r"\t@.*\$\((PY|PIP)\)", line)]
    assert not silenced, f"make echoes every Python command it runs, but these begin with @: {silenced}"


# ---- README


def shell_commands(markdown: str) -> list[str]:
    """The lines of fenced blocks, and the code between single backticks."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, flags=re.M | re.S)
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", markdown, flags=re.M | re.S)
    return [line for block in fenced for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def named(commands: list[str]) -> tuple[set[str], set[str]]:
    """(make targets, Python modules) that shell commands run."""
    targets, modules = set(), set()
    for line in commands:
        line = re.sub(r"\s#.*", "", line)
        modules |= set(re.findall(r"\b(?:python[\d.]*|py)(?:\.exe)?\s+-m\s+([\w.]+)", line))
        if call := re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*make((?: .*)?)$", line):
            arguments = re.sub(r"""\w+=("[^"]*"|'[^']*'|\S*)""", "", call[1])
            targets |= {word for word in arguments.split() if not word.startswith("-")}
    return targets, modules


def exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    if path.with_suffix(".py").is_file() or (path / "__main__.py").is_file():
        return True
    top = module.split(".")[0]
    return not (ROOT / top).exists() and importlib.util.find_spec(top) is not None


def test_commands_are_found_in_markdown():
    text = (
        "Type `make test` or\n```sh\n"
        "$ make train-minibert CORPUS='my text.txt' ARGS=\"--seed 1\"  # five minutes\n"
        "A=1 python -m minibert.fill_mask \"x\"\n.venv\\Scripts\\python -m pytest\nmakes no target\n```\n"
    )
    assert named(shell_commands(text)) == ({"test", "train-minibert"}, {"minibert.fill_mask", "pytest"})
    assert exists("tests.test_project") and exists("pytest") and not exists("tests.no_such_module")


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_commands_of_the_readme_exist(name):
    if name != "README.md" and not (ROOT / name).exists():
        pytest.skip(f"{name} is not written yet")
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "@@" not in text, f"{name} has a place that is still to be filled in"
    targets, modules = named(shell_commands(text))
    unknown = sorted(targets - makefile_targets())
    assert not unknown, f"{name} names make targets that the Makefile lacks: {unknown}"
    gone = sorted(module for module in modules if not exists(module))
    assert not gone, f"{name} runs modules that are not there: {gone}"


# ---- when a test may skip (tests/oracle.py)

CASES = """
import pytest
from tests.oracle import missing, oracle

def test_fixture(shared_data): pass
def test_oracle(): oracle("no_such_library")
def test_importorskip(): pytest.importorskip("no_such_library")
@pytest.mark.needs_data
def test_marked(): pytest.skip("for a reason of its own")
def test_may_skip(): pytest.skip("no GPU")
@pytest.mark.xfail
def test_xfail(): assert False
"""
AT_THE_TOP = "import pytest\npytest.importorskip('no_such_library')\ndef test(): pass\n"


# the file that skips at its top counts twice: once for its tests, once for its docstring examples
@pytest.mark.parametrize(
    ("require", "summary"),
    [("0", "7 skipped, 1 xfailed"), ("1", "3 failed, 1 skipped, 1 xfailed, 3 errors")],
)
def test_what_lacks_data_skips_or_fails(tmp_path, require, summary):
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in ("__init__.py", "conftest.py", "oracle.py"):
        shutil.copy(ROOT / "tests" / name, tests)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tests / "test_cases.py").write_text(CASES, encoding="utf-8")
    (tests / "test_top.py").write_text(AT_THE_TOP, encoding="utf-8")
    (tmp_path / "torch.py").write_text("def manual_seed(seed): pass\n", encoding="utf-8")  # a quick one
    env = {**os.environ, "MINIFORMERS_REQUIRE_DATA": require, "MINIFORMERS_DATA": str(tmp_path / "absent")}
    run = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert summary in done.stdout.splitlines()[-1], done.stdout + done.stderr
