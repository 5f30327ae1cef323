"""Which file may import which. Read from the sources, so that no import is forgotten.

    common               imports no other package of the project
    minibert .. rlhf     import only common
    lora, rlhf           their commands (files that define main) may also import a model package
    commands             are imported by nothing but tests and notebooks
    optional packages    (matplotlib, safetensors ...) are imported inside functions, so training runs without
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"minibert", "minigpt", "minit5"}
PACKAGES = {"common", "lora", "rlhf"} | MODELS
FREE = {"tests", "notebooks"}  # they combine everything
RUNTIME = {"torch", "numpy", "sentencepiece", "tqdm"}


def project_sources(root: Path) -> dict[str, str]:
    """Path relative to root -> text, for every Python file of the packages, the tests and the notebooks."""
    files = (p for top in sorted(PACKAGES | FREE) for p in sorted((root / top).rglob("*.py")))
    return {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in files}


def violations(sources: dict[str, str]) -> list[str]:
    """Every breach of the rules above, as "file:line: rule"."""
    trees = {path: ast.parse(text, path) for path, text in sources.items()}
    commands = {module_name(path) for path, tree in trees.items() if defines_main(tree)}
    found = []
    for path, tree in trees.items():
        package = path.split("/")[0]
        if path.endswith("/utils.py"):
            found.append(f"{path}:1: no file is named utils.py; name it after what is in it")
        if package != "tests":
            layers = builtin_layers(tree)
            found += [f"{path}:{line}: {name} is for tests only; write it out" for line, name in layers]
        if package in FREE:
            continue
        top_level = top_level_imports(tree)
        for node in ast.walk(tree):
            for name in imported(node, path):
                rule = arrow(path, name, commands) or (outside(name) if node in top_level else None)
                if rule:
                    found.append(f"{path}:{node.lineno}: imports {name}; {rule}")
    return found


def arrow(path: str, name: str, commands: set[str]) -> str | None:
    """The rule between packages that importing `name` in `path` breaks, if any."""
    here, there = path.split("/")[0], name.split(".")[0]
    # `from minibert.pretrain import x` names minibert.pretrain.x, so a command is met as a prefix
    command = next((c for c in commands if (name + ".").startswith(c + ".")), None)
    if command and command != module_name(path) and command.split(".")[0] not in FREE:
        return f"{command} is a command (it defines main), and nothing imports a command"
    if there in FREE:
        return f"{there} imports the packages, never the other way round"
    if there not in PACKAGES or there in (here, "common"):
        return None
    if here == "common":
        return "common imports no other package of the project"
    if here in MODELS:
        return f"{here} imports only common"
    if there in MODELS and module_name(path) in commands:
        return None
    return f"{here} imports only common; a command (a file that defines main) may import a model package"


def outside(name: str) -> str | None:
    """The rule on packages from elsewhere, for an import that runs when the file is loaded."""
    top = name.split(".")[0]
    if top in PACKAGES | RUNTIME or top in sys.stdlib_module_names:
        return None
    return f"{top} is optional: import it inside the function that needs it"


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def defines_main(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


def imported(node: ast.AST, path: str) -> list[str]:
    """Full dotted names that an import statement brings in; relative ones are resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts = path.split("/")[: -node.level] if node.level else []
    base = ".".join([*parts, *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def top_level_imports(tree: ast.Module) -> set[ast.AST]:
    """The import statements that run when the file is loaded: outside functions and `if TYPE_CHECKING`."""
    found, todo = set(), list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.add(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return found


def builtin_layers(tree: ast.Module) -> list[tuple[int, str]]:
    """Uses of torch's finished Transformer layers: nn.Transformer..., nn.MultiheadAttention."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "nn":
            found.append((node.lineno, node.attr))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.nn"):
            found += [(node.lineno, alias.name) for alias in node.names]
    forbidden = ("Transformer", "MultiheadAttention")
    return [(line, f"nn.{name}") for line, name in found if name.startswith(forbidden)]


def test_the_project_keeps_its_layers():
    found = violations(project_sources(ROOT))
    assert not found, "imports that point the wrong way (see the top of this file):\n  " + "\n  ".join(found)


COMMAND = "def main(argv=None):\n    pass\n"
RUN = {"minibert/run.py": COMMAND}
TRY = "try:\n    import safetensors\nexcept ImportError:\n    pass\n"
LAYER = "from torch import nn\nnn.TransformerEncoder\n"
WRONG = {  # what is wrong: (sources, part of the message)
    "common knows no model": ({"common/a.py": "import torch\nimport minibert.model\n"}, "common/a.py:2"),
    "also inside a function": ({"common/a.py": "def f():\n    import minigpt\n"}, "common/a.py:2"),
    "a model knows no other": ({"minigpt/a.py": "import minibert.model\n"}, "minigpt imports only common"),
    "a model knows no lora": ({"minit5/a.py": "from lora import lora\n"}, "minit5 imports only common"),
    "a library file of rlhf": ({"rlhf/ppo.py": "from minigpt import GPT\n"}, "rlhf imports only common; a"),
    "lora and rlhf are strangers": ({"rlhf/a.py": COMMAND + "import lora\n"}, "rlhf/a.py:3"),
    "packages know no tests": ({"common/a.py": "from tests import conftest\n"}, "never the other way round"),
    "a command, by module": ({"minibert/a.py": "from minibert.run import f\n", **RUN}, "run is a command"),
    "a command, by package": ({"minibert/a.py": "from minibert import run\n", **RUN}, "run is a command"),
    "a command, relative": ({"minibert/a.py": "from .run import f\n", **RUN}, "run is a command"),
    "a command by a command": ({"rlhf/a.py": COMMAND + "import minibert.run\n", **RUN}, "rlhf/a.py:3"),
    "optional at the top": ({"common/a.py": "import matplotlib.pyplot\n"}, "matplotlib is optional"),
    "optional in try": ({"common/a.py": TRY}, "common/a.py:2: imports safetensors"),
    "utils.py": ({"minibert/utils.py": ""}, "minibert/utils.py:1: no file is named utils.py"),
    "nn.Transformer": ({"minibert/a.py": LAYER}, "minibert/a.py:2: nn.TransformerEncoder"),
    "attention": ({"notebooks/a.py": "from torch.nn import MultiheadAttention\n"}, "nn.MultiheadAttention"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_checker_finds(case):
    sources, expected = WRONG[case]
    found = violations(sources)
    assert len(found) == 1, f"expected one violation, got {found}"
    assert expected in found[0]


def test_the_checker_allows_what_is_allowed():
    sources = {
        "common/a.py": "import math\nimport torch.nn.functional\nfrom tqdm import tqdm\nfrom .b import f\n",
        "common/b.py": "def f():\n    import matplotlib\n    from safetensors.torch import load_file\n",
        "common/transformer.py": "from torch import nn\nnn.Linear\n",
        "minibert/model.py": "from common.transformer import Stack\nfrom minibert import masking\n",
        "minibert/run.py": COMMAND + "from minibert.model import BertModel\n",
        "minibert/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import transformers\n",
        "rlhf/ppo.py": COMMAND + "from minigpt import GPT\n",
        "tests/test_a.py": "import transformers, minibert.run\nfrom torch.nn import TransformerEncoder\n",
        "notebooks/lecture.py": "import matplotlib\nfrom minibert.run import main\n",
    }
    assert violations(sources) == []


def test_the_checker_reads_the_real_tree():
    sources = project_sources(ROOT)
    assert "tests/test_layering.py" in sources
    assert any(path.startswith("common/") for path in sources)
