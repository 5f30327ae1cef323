"""What a test may lack: shared data, published weights, a library to compare with.

A test that lacks one of them skips and says how to get it. With MINIFORMERS_REQUIRE_DATA=1, as in
.ci/run, it fails instead: a skipped comparison proves nothing.

    transformers = oracle("transformers")          # at the top of a test file, or inside a test
"""

import importlib
import os
from typing import NoReturn

import pytest

FIXTURES = {"shared_data", "minilm"}  # of conftest.py; a test that asks for one of them needs data
INSTALL = 'pip install -c constraints.txt -e ".[plots,hub,notebooks,dev]", or run the tests with: make test'


def required() -> bool:
    return os.environ.get("MINIFORMERS_REQUIRE_DATA", "") not in ("", "0")


def missing(reason: str) -> NoReturn:
    """Skip this test (or, at the top of a file, all of its tests); fail where everything is required."""
    if required():
        pytest.fail(f"{reason} (MINIFORMERS_REQUIRE_DATA is set, so this is a failure)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def oracle(name: str):
    """Import a library that only tests use. Its absence is `missing`; an error inside it is an error."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
    missing(f"needs {name}: {INSTALL}")


def must_not_skip(reason: str, fixtures=(), marked=False) -> bool:
    """Does MINIFORMERS_REQUIRE_DATA=1 forbid this skip? A test may skip for other reasons: no GPU ..."""
    return marked or bool(FIXTURES & set(fixtures)) or "could not import" in reason.lower()
