"""The engines that are compared, each in a process that does as it is told by lines."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.processes import need, running, stop
from moreton.kernel.ports import free_port


class Contender:
    """`python -m bench.saga.workers.KIND URL`."""

    def __init__(self, name: str, kind: str, url: str) -> None:
        self.name = name
        self._program = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", f"bench.saga.workers.{kind}", url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()

    def measure(self, steps: int, at_once: int, seconds: float) -> tuple[float, float]:
        """Workflows a second, and the median time from one step to the next, in ms."""
        assert self._program.stdin is not None
        order = {"steps": steps, "at_once": at_once, "seconds": seconds}
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        rate, gap = self._answer()
        return rate, gap

    def close(self) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.wait(10)
        stop(self._program)  # type: ignore[arg-type]

    def _answer(self) -> tuple[float, float]:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            if line.startswith("bench "):
                rate, gap = json.loads(line.removeprefix("bench "))
                return rate, gap
        raise RuntimeError(f"{self.name} ended with status {self._program.wait()}")


@contextlib.contextmanager
def contenders(database: str, folder: Path, *, quick: bool) -> Iterator[list[Contender]]:
    """All that can use *database*, ours first; Temporal beside the SQLite ones."""
    with contextlib.ExitStack() as stack:
        those: list[Contender] = []

        def add(name: str, kind: str, url: str) -> None:
            those.append(Contender(name, kind, url))
            stack.callback(those[-1].close)

        if database == "sqlite":
            add("moreton", "ours", f"sqlite:///{folder}/ours.sqlite")
            add("dbos", "dbos_worker", f"sqlite:///{folder}/dbos.sqlite")
            with contextlib.closing(sqlite3.connect(folder / "wal.sqlite")) as db:
                db.execute("PRAGMA journal_mode = WAL")
            add("dbos, WAL", "dbos_worker", f"sqlite:///{folder}/wal.sqlite")
            if not quick:
                port = free_port()
                command = [need("temporal"), "server", "start-dev", "--headless", "--port",
                           str(port), "--db-filename", str(folder / "temporal.sqlite")]  # fmt: skip
                stack.enter_context(running(command, log=folder / "temporal.log", port=port))
                add("temporal", "temporal_worker", f"127.0.0.1:{port}")
        else:
            # The server that tests use, with a disk that is waited for.
            sys.path.append(str(Path(__file__).parents[2] / "tests"))
            from support.postgres_server import running_postgres  # noqa: PLC0415 - as above

            server = stack.enter_context(running_postgres(fsync=True))
            add("moreton", "ours", server.new_database())
            add("dbos", "dbos_worker", server.new_database())
        yield those
