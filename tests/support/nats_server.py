"""A real NATS server with JetStream on a port of its own, which can be killed and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support.ports import free_port


class NatsServer:
    """Keeps its streams in *folder*; answers once they are on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}\n'
        )
        # The wheel puts it beside the interpreter.
        self._command = [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]
        self._log = folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            assert self._process.poll() is None, self._log.read_text()
        raise AssertionError("nats-server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_nats(folder: Path) -> Iterator[NatsServer]:
    server = NatsServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
