"""What tests start has each signal's default, also where the run itself was told to ignore it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
STARTED_BY_A_SCRIPT = """
import os, signal, subprocess, sys
signal.signal(signal.Signals[sys.argv[1]], signal.SIG_IGN)
from support.signals import heed_in_children
heed_in_children()
os.kill(os.getpid(), signal.Signals[sys.argv[1]])
child = subprocess.Popen(["sleep", "30"])
child.send_signal(signal.Signals[sys.argv[1]])
print(-child.wait(20))
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT"])
def test_child_heeds_what_its_parent_ignores(name: str) -> None:
    command = [sys.executable, "-c", STARTED_BY_A_SCRIPT, name]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) == {"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3}[name], done.stderr
