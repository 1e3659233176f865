"""A real Prometheus of its own folder and port, with metrics that it makes itself by rules.

What it scrapes it would find five seconds after its start at the earliest.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.debian import need
from support.ports import free_port
from support.waits import SECONDS, end_at_once

_EVERY = "100ms"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def wait_value(self, query: str, value: str) -> None:
        """Return once *query* finds *value*."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                with contextlib.closing(connection):
                    connection.request("GET", f"/api/v1/query?query={query}")
                    found = json.loads(connection.getresponse().read())["data"]["result"]
                    if found and found[0]["value"][1] == value:
                        return
            time.sleep(0.02)
        log = (self.folder / "log").read_text()
        raise AssertionError(f"{query} is not {value} within {SECONDS:g} s: {log}")


def write_rules(folder: Path, metrics: Mapping[str, str]) -> None:
    """Make *metrics*, each by its expression; labels are written into the name."""
    rules = []
    for name, expression in metrics.items():
        record, _, labels = name.partition("{")
        pairs = [each.split("=") for each in labels.removesuffix("}").split(",") if each]
        rules.append({"record": record, "expr": expression, "labels": dict(pairs)})
    group = {"name": "test", "interval": _EVERY, "rules": rules}
    (folder / "rules.yml").write_text(json.dumps({"groups": [group]}))


@contextlib.contextmanager
def prometheus(folder: Path, metrics: Mapping[str, str]) -> Iterator[Prometheus]:
    """One whose *metrics* have values; see `write_rules`."""
    program = need("prometheus", "prometheus")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    write_rules(folder, metrics)
    (folder / "prometheus.yml").write_text(json.dumps({"rule_files": ["rules.yml"]}))
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    made = Prometheus(folder, port, process)
    try:
        for name in metrics:
            made.wait_value(f"count({name.partition('{')[0]})%3E0", _count(metrics, name))
        yield made
    finally:
        end_at_once(process)


def _count(metrics: Mapping[str, str], name: str) -> str:
    record = name.partition("{")[0]
    return str(sum(each.partition("{")[0] == record for each in metrics))
