"""Programs of Debian that tests run: there, or the test says loudly that it did not run."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str, package: str) -> str:
    """The path of *program*; skips where it is missing, and fails in CI, which must have it."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        reason = f"{program} is not installed (apt-get install {package}): this was NOT tested"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
