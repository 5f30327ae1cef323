"""Build and execute the notebooks: each notebooks/*.py in jupytext's percent format becomes an .ipynb with its outputs.

    python -m notebooks.build            writes the .ipynb beside each .py
    python -m notebooks.build --short    runs the quick form of each and writes nothing, for CI

The .py is what people edit; the .ipynb is what people read on the web, and is never edited by hand.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.checkpoint import write_atomically
from common.command import UserError, command
from common.config import option, parse

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class BuildConfig:
    """How the notebooks are built."""

    short: bool = option(False, "fewer steps, and nothing is written: only to see that every cell runs")


@command
def main(argv: list[str] | None = None) -> None:
    short = parse(BuildConfig, argv, __doc__).short
    for path in sorted(HERE.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not text.startswith("# %%"):  # a module, such as this one
            continue
        print(f"{path.name}: running{' its short form' if short else ''} ...", flush=True)
        built = execute(path.name, text, short).encode()
        if not short:
            write_atomically(path.with_suffix(".ipynb"), lambda part, built=built: part.write_bytes(built))
            print(f"{path.stem}.ipynb: {len(built) / 1000:,.0f} kB")


def execute(name: str, text: str, short: bool) -> str:
    """The .ipynb of a percent script, with its outputs. Raises UserError that names the cell that failed."""
    try:
        import ipykernel  # noqa: F401  the kernel needs it
        import jupytext
        import nbformat
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError as error:
        install = 'pip install -c constraints.txt -e ".[plots,notebooks]"'
        raise UserError(f"notebooks need {error.name}:  {install}") from None

    notebook = jupytext.reads(text, fmt="py:percent")
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # jupytext draws these at random
    # No folder to look for kernels in: then "python3" is the interpreter that runs this, not one installed elsewhere.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(notebook, km=kernel, timeout=600, record_timing=False, coalesce_streams=True,
                            extra_arguments=["--log-level=ERROR"],  # it warns of its own local socket
                            resources={"metadata": {"path": str(HERE.parent)}})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        own = {"IPYTHONDIR": folder, "MPLBACKEND": "module://matplotlib_inline.backend_inline",
               "MINIFORMERS_SHORT": "1" if short else "", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        try:
            client.execute(env={**os.environ, **own})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            i, cell = max(((i, cell) for i, cell in enumerate(notebook.cells) if cell.get("execution_count")),
                          default=(0, notebook.cells[0]))
            what = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error).strip()
            raise UserError(f"{name}, cell {i} ({cell.source.splitlines()[0]}): {what}") from None
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                         "language_info": {"name": "python"}}
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    main()
