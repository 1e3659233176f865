from __future__ import annotations

import subprocess
import sys

from moreton.kernel.rng import seeded_rng, system_rng

_FORK = """
import os
from moreton.kernel.rng import system_rng
rng = system_rng()
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, str(rng.getrandbits(80)).encode())
    os._exit(0)
os.wait()
print(os.read(reading, 100).decode(), rng.getrandbits(80))
"""


def test_forked_process_draws_other_numbers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=60, check=True
    )
    child, parent = done.stdout.split()
    assert child != parent


def test_seeded_one_repeats_and_those_of_the_system_do_not() -> None:
    assert seeded_rng(7).random() == seeded_rng(7).random()
    assert system_rng().getrandbits(80) != system_rng().getrandbits(80)
