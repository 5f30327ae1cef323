"""Fixtures and rules for all tests. What they may lack, and what then happens, is in tests/oracle.py."""

import os
from pathlib import Path

import pytest
import torch

from tests.oracle import missing, must_not_skip, required


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same random state, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that is not in the repository (sst5, tinyshakespeare, stories260K ...)."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MINIFORMERS_DATA") or default)
    if not folder.is_dir():
        missing(f"needs the data folder, and {folder} is not there: set MINIFORMERS_DATA to where it is")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, a trained BERT in the Hugging Face layout."""
    from tests.fetch_weights import minilm_directory

    folder = Path(minilm_directory())
    if not (folder / "model.safetensors").is_file():
        missing("needs the weights of all-MiniLM-L6-v2: make weights, or python -m tests.fetch_weights")
    return folder


def _forbid_skip(report, **why):
    """Turn a skip that lacks data into a failure where data is required, however the test came to skip."""
    if not (required() and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if must_not_skip(reason, **why):
        report.outcome = "failed"
        report.longrepr = f"{reason} (MINIFORMERS_REQUIRE_DATA is set, so this skip is a failure)"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    marked = item.get_closest_marker("needs_data") is not None
    _forbid_skip(report, fixtures=getattr(item, "fixturenames", ()), marked=marked)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    _forbid_skip((yield).get_result())
