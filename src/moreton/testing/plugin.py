"""A pytest plugin: `--rewrite` accepts what scripts and golden files print now.

def test_script(run_script): run_script(Path("my.txt"), handle)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from moreton.sim.script import Handler
from moreton.sim.script import run_script as run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--rewrite`."""
    parser.addoption(
        "--rewrite", action="store_true", help="write what scripts print into their files"
    )


@pytest.fixture
def run_script(request: pytest.FixtureRequest) -> Callable[[Path, Handler], int]:
    """Run a script file through a handler; with `--rewrite`, accept what it prints."""
    rewrite = bool(request.config.getoption("--rewrite"))
    return lambda path, handle: run(path, handle, rewrite=rewrite)
