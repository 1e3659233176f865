"""`moreton` without the second that it takes to load: forked by a process that has all loaded.

What is forked does what `python -m moreton.cli.main` does from its first line to its last. How it
loads is tested where a test starts it as users do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.waits import ANSWER_SECONDS, line_of

_LOADED = (
    "moreton.cli.main", "moreton.cli.up", "moreton.cli.run", "moreton.cli.weights",
    "moreton.cli.cluster", "moreton.cli.leaving.drain", "moreton.cli.leaving.rollout",
    "moreton.cli.looking.status", "moreton.cli.looking.instances", "moreton.cli.looking.services",
    "moreton.cli.looking.events", "moreton.registry.runner", "moreton.controlplane.life.up",
    "moreton.controlplane.assembly.editing", "moreton.controlplane.assembly.looks",
    "moreton.controlplane.api.serving.server", "moreton.controlplane.cluster.caring",
    "uvloop", "httptools",
)  # fmt: skip
_ASKING_AGAIN_SECONDS = 0.02


class Preloaded:
    """A `moreton` that was begun here; what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, loader: Loader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._loader = loader

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, if it ended."""
        if self.returncode is None:
            self.returncode = self._loader.ask({"status": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit status once it ended; raises `subprocess.TimeoutExpired`."""
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("moreton", timeout)
            time.sleep(_ASKING_AGAIN_SECONDS)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)  # what ended keeps its number until it was asked for

    def terminate(self) -> None:
        """As `kill`."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As `kill -9`."""
        self.send_signal(signal.SIGKILL)


class Loader:
    """The process that has all loaded."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._program = subprocess.Popen(
            [sys.executable, "-m", "support.preloaded"], cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, order: Mapping[str, object]) -> int | None:
        """Its answer to one order."""
        with self._asking:
            assert self._program.stdin is not None
            self._program.stdin.write(json.dumps(order) + "\n")
            self._program.stdin.flush()
            answer = line_of(self._program.stdout, f"the answer to {order}", ANSWER_SECONDS)
        found = json.loads(answer)
        assert found is None or isinstance(found, int)
        return found

    def close(self) -> None:
        """End it; what it began goes on."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(30)
        self._program.stdout.close()


@functools.cache
def _loader() -> Loader:
    found = Loader()
    atexit.register(found.close)
    return found


def start(
    arguments: Sequence[str], *, folder: Path, out: Path, err: Path, **environment: str
) -> Preloaded:
    """`moreton ARGUMENTS` in *folder*, which adds what it says to *out* and *err*."""
    loader = _loader()
    order = {
        "arguments": list(arguments),
        "folder": str(folder),
        "out": str(out),
        "err": str(err),
        "environment": {**os.environ, **environment},
    }
    pid = loader.ask(order)
    assert pid is not None
    return Preloaded(pid, loader)


def run(
    arguments: Sequence[str], *, folder: Path, timeout: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`moreton ARGUMENTS` in *folder*, once it ended; killed after *timeout* seconds."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        begun = start(arguments, folder=folder, out=out, err=err, **environment)
        try:
            status = begun.wait(timeout)
        finally:
            begun.kill()
        return subprocess.CompletedProcess(
            ["moreton", *arguments], status, out.read_text(), err.read_text()
        )


def _obey() -> dict[str, Any] | None:
    """Fork a process for each order; in that process, return the order."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "status" in order:
            ended, status = os.waitpid(order["status"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                return order
        print(json.dumps(answer), flush=True)
    return None


def _become(order: Mapping[str, Any]) -> None:
    """Be what a shell would have started."""
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY), (1, order["out"], appending), (2, order["err"], appending),
    ):  # fmt: skip
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.chdir(order["folder"])
    sys.argv = ["moreton", *order["arguments"]]
    gc.enable()


def main() -> None:
    """Load, obey, and in what is forked run the command line."""
    gc.disable()
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in _LOADED:
        with contextlib.suppress(ModuleNotFoundError):  # two that not every machine has
            importlib.import_module(name)
    gc.freeze()
    order = _obey()
    if order is not None:
        _become(order)
        importlib.import_module("moreton.cli.main").main()


if __name__ == "__main__":
    main()
