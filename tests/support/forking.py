"""Processes that are there in milliseconds: forked by one that has everything loaded.

A program calls `serve` with what a process is to do; a test starts it by `Forks`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def serve(work: Callable[[Mapping[str, Any]], None]) -> None:
    """Fork a process for each line of input; say its number, and later its status."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(order)
                status = 0
            except BaseException:  # noqa: BLE001 - a forked process must not return
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)


class Forks:
    """The program *module* of the tests, as `support.saga_worker`, which serves."""

    def __init__(self, module: str) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", module], cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, **order: object) -> int:
        """Begin; its process id."""
        return self._ask(order)

    def wait(self, pid: int) -> int:
        """Its exit status, negative for a signal, once it ended."""
        return self._ask({"wait": pid})

    def run(self, **order: object) -> int:
        """Begin, and wait."""
        return self.wait(self.start(**order))

    def close(self) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(30)
        self._program.stdout.close()

    def _ask(self, order: object) -> int:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())
