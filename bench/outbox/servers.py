"""The PostgreSQL and the NATS server that are measured: commits and messages are on disk."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from bench.outbox.processor import seconds_of
from bench.processes import ending_with_us, stop, wait_port
from moreton.kernel.ports import free_port

_SETTINGS = {
    # None in the middle of a run.
    "checkpoint_timeout": "30min",
    "max_wal_size": "4GB",
    "min_wal_size": "2GB",
    "shared_buffers": "512MB",
    # What tells when each row was committed.
    "track_commit_timestamp": "on",
    "wal_level": "replica",
}
# Of 16 MB each: more than a turn fills.
_LOG_FILES = 32


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of the server that tests use, with a disk that is waited for; `{}` for a database."""
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    from support.postgres_server import running_postgres  # noqa: PLC0415 - found only now

    starter = ending_with_us([], by="INT")
    with running_postgres(fsync=True, settings=_SETTINGS, starter=starter) as server:
        yield server.url("{}")


def settle(url: str) -> None:
    """Have the PostgreSQL at *url* be as one that has worked for a day: its log goes round.

    To make a file of the log, instead of taking an old one, holds up all commits for 40 ms.
    """
    with psycopg.connect(url.format("postgres"), autocommit=True) as db:
        for _ in range(_LOG_FILES):
            db.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
        db.execute("CHECKPOINT")


class Nats:
    """A server that answers when a message is on disk; may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._log = folder / "nats.log"
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}\n'
        )
        program = str(Path(sys.executable).parent / "nats-server")
        self._command = ending_with_us([program, "-c", str(config)])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_port(self.port, self._process, self._log)

    def cpu_seconds(self) -> float:
        return 0.0 if self._process is None else seconds_of(self._process.pid)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Program:
    """A child that may be killed and started again."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = ending_with_us(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)

    def cpu_seconds(self) -> float:
        return 0.0 if self._process is None else seconds_of(self._process.pid)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Stopped meanwhile: it takes nothing from those who are measured."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait()
