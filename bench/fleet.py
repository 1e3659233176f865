"""A `moreton up` of its own in a folder of its own, and a client of its HTTP API."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from bench.processes import listening, stop
from moreton.kernel.ports import free_port

_READY_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Fleet:
    """One control plane with its Envoy; *port* is the gateway's."""

    folder: Path
    port: int
    api_port: int
    cores: str | None = None
    child: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = _READY_SECONDS_MAX) -> None:
        """Start `moreton up` and return once its API says that everything is applied."""
        self.spawn()
        self.wait_ready(seconds)

    def spawn(self) -> None:
        """Start `moreton up`; do not wait."""
        command = [sys.executable, "-m", "moreton.cli.main", "up"]
        if self.cores:
            command = ["taskset", "-c", self.cores, *command]
        with (self.folder / "up.log").open("ab") as log:
            self.child = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=dict(os.environ)
            )

    def wait_ready(self, seconds: float = _READY_SECONDS_MAX) -> None:
        """Return once the API answers and a proxy has applied everything."""
        assert self.child is not None
        until = time.monotonic() + seconds
        # One: each reads the system's certificates, while who loads the gateway here waits.
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=30)
        while time.monotonic() < until:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError, httpx.HTTPError):
                answer = client.get("/v1/health")
                if answer.status_code == 200:
                    # Only now: a node that joins others takes their token first.
                    token = (self.folder / ".moreton" / "token").read_text().strip()
                    client.headers["authorization"] = f"Bearer {token}"
                    self.client = client
                    return
            time.sleep(0.01)
        tail = (self.folder / "up.log").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"moreton up did not become ready:\n{tail}")

    def kill(self) -> None:
        """SIGKILL the control plane alone; its Envoy stays."""
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def call(self, method: str, path: str, body: object = None) -> object:
        """One call of the API; an error of the API is an error here."""
        answer = self.client.request(method, path, json=body)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def envoy_pid(self) -> int:
        """The process id of the fleet's Envoy."""
        found = self._envoy()
        assert found is not None
        return found

    def _envoy(self) -> int | None:
        """As `envoy_pid`; `None` between two of them."""
        status = self.call("GET", "/v1/status")
        assert isinstance(status, dict)
        pid = status["envoy"]["pid"]
        return None if pid is None else int(pid)

    def kill_envoy(self) -> int:
        """SIGKILL the Envoy alone, which is started anew; the process id that it had."""
        found = self.envoy_pid()
        os.kill(found, signal.SIGKILL)
        return found

    def wait_envoy(
        self, before: int, ports: Collection[int], seconds: float = _READY_SECONDS_MAX
    ) -> int:
        """The process id of the Envoy after *before*, once it listens on *ports*."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self._envoy()
            if found and found != before and all(found in listening(port) for port in ports):
                return found
            time.sleep(0.05)
        raise RuntimeError(f"no other Envoy came within {seconds} s")


def renew_envoys(fleets: Sequence[tuple[Fleet, Collection[int]]]) -> list[int]:
    """An Envoy anew for each of *fleets*, all at once; their process ids, once all listen."""
    before = [made.kill_envoy() for made, _ in fleets]
    return [made.wait_envoy(pid, ports) for pid, (made, ports) in zip(before, fleets, strict=True)]


def configured(made: Fleet, configuration: Mapping[str, object]) -> None:
    """Give *made* its moreton.yaml, with its own ports where *configuration* says nothing else."""
    document = {
        "version": 1,
        "gateways": {"public": {"listeners": [{"address": f"127.0.0.1:{made.port}"}]}},
        "controlplane": {"api": f"127.0.0.1:{made.api_port}"},
        "envoy": {"concurrency": 1, "drain_time": "1s"},
        **configuration,
    }
    made.folder.mkdir(parents=True, exist_ok=True)
    (made.folder / "moreton.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(document))))


@contextlib.contextmanager
def fleet(
    folder: Path, configuration: Mapping[str, object], *, cores: str | None = None
) -> Iterator[Fleet]:
    """`moreton up` on *configuration*, whose gateway and API get free ports; ended after."""
    made = Fleet(folder, free_port(), free_port(), cores)
    configured(made, configuration)
    try:
        made.start()
        yield made
    finally:
        if made.child is not None:
            stop(made.child, 20)
