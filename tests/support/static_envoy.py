"""A real Envoy, started from a static bootstrap: no control plane."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moreton.envoy.binary import find_envoy
from moreton.envoy.core.resources import Resource, Snapshot
from moreton.envoy.static import static_bootstrap

_READY_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.02


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.connect(str(self._path))
            stack.pop_all()
        self.sock = made


@dataclass
class StaticEnvoy:
    """Where it listens: a port for each listener's name."""

    admin: Path
    ports: Mapping[str, int]

    def get(self, path: str) -> str:
        """What the admin interface answers."""
        return _ask(self.admin, path)

    def stats(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose names match *pattern*."""
        lines = self.get(f"/stats?usedonly&filter={pattern}").splitlines()
        pairs = (line.split(": ", 1) for line in lines)
        return {name: int(value) for name, value in pairs if value.isdigit()}


@contextlib.contextmanager
def static_envoy(
    resources: Iterable[Resource], secret_files: Mapping[str, str] | None = None
) -> Iterator[StaticEnvoy]:
    """Serve *resources*; a listener's port 0 is any free one."""
    with tempfile.TemporaryDirectory(prefix="moreton-test-") as name:
        folder = Path(name)
        admin = folder / "admin.sock"
        bootstrap = folder / "bootstrap.pb"
        bootstrap.write_bytes(
            static_bootstrap(
                Snapshot().changed(resources),
                node="test",
                group="test",
                admin_socket=admin,
                secret_files=secret_files or {},
            )
        )
        log = folder / "log"
        command = [str(find_envoy(None)), "-c", str(bootstrap), "--use-dynamic-base-id"]
        command += ["--concurrency", "1", "--log-level", "warning", "--log-path", str(log)]
        command += ["--file-flush-interval-msec", "50"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait_ready(admin, process, log)
            yield StaticEnvoy(admin, dict(_ports(admin)))
        finally:
            process.terminate()
            process.wait(_READY_SECONDS_MAX)


def _ask(admin: Path, path: str) -> str:
    connection = _UnixConnection(admin)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def _wait_ready(admin: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS_MAX
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            if _ask(admin, "/ready").strip() == "LIVE":
                return
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"Envoy was not ready:\n{log.read_text()}")


def _ports(admin: Path) -> Iterator[tuple[str, int]]:
    found: Any = json.loads(_ask(admin, "/listeners?format=json"))
    for one in found["listener_statuses"]:
        yield one["name"], one["local_address"]["socket_address"]["port_value"]
