from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from moreton.transactions.failpoints import VARIABLE, Failpoint, failpoints

PROGRAM = """
from moreton.transactions.failpoints import Failpoint
here = Failpoint("test.here")
for number in range(3):
    print(number, flush=True)
    here()
"""


@pytest.mark.parametrize(("wanted", "lines"), [("test.here", 1), ("test.here:3", 3)])
def test_process_dies_at_the_passage_that_is_asked_for(wanted: str, lines: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={VARIABLE: wanted}, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == lines


def test_boundary_with_a_name_that_is_taken_is_refused() -> None:
    Failpoint("test.twice")
    assert "test.twice" in failpoints("test.")
    with pytest.raises(ValueError, match=r"test\.twice"):
        Failpoint("test.twice")
