"""What an Envoy is started with, and what tells whether a running one was started the same way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.envoy.process.allocator import allocator_environment
from moreton.kernel.rng import Rng

# Envoy multiplies the base id by ten, and the product must fit 31 bits: it names its sockets by it,
# and a larger one is taken for negative there and printed with twenty digits (Envoy 1.40).
_BASE_ID_BITS = 27
# What a drained Envoy gets beyond the drain time before its successor ends it.
_SHUTDOWN_MARGIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A line of Envoys, each of which took over the listening sockets of the one before.

    Envoy calls that hot restart: the sockets themselves are handed on, so that no connection is
    lost in the queue of a socket that is closed.
    """

    base_id: int
    epoch: int = 0

    @classmethod
    def begin(cls, rng: Rng) -> Lineage:
        """A line of its own."""
        # From 1: of the base id 0 the first parent has the number -1, of twenty digits as well.
        return cls(rng.getrandbits(_BASE_ID_BITS) or 1)

    def successor(self) -> Lineage:
        """The next in the line."""
        return Lineage(self.base_id, self.epoch + 1)

    def forget(self) -> None:
        """Remove the shared memory that Envoy leaves behind; harmless when there is none."""
        with contextlib.suppress(OSError):
            Path(f"/dev/shm/envoy_shared_memory_{self.base_id * 10}").unlink(missing_ok=True)  # noqa: S108 - Envoy chose the place


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an Envoy: *bootstrap* is a file, *content* what is in it."""

    binary: Path
    version: str
    bootstrap: Path
    content: bytes
    sockets: Path
    drain_time: timedelta
    concurrency: int | None = None
    override: Mapping[str, object] | None = None  # laid over the bootstrap
    crashed: bool = False  # the one before: no part of the fingerprint, as one that runs is well

    def fingerprint(self) -> str:
        """The same for two launches that make the same Envoy, wherever its binary lies."""
        parts = [
            self.version,
            str(self.sockets),
            str(self.drain_time),
            str(self.concurrency),
            json.dumps(self.override, sort_keys=True),
        ]
        made = hashlib.blake2b("\0".join(parts).encode(), digest_size=12)
        made.update(self.content)
        return made.hexdigest()

    def environment(self) -> dict[str, str]:
        """What it gets beside the environment that is ours."""
        if self.crashed:
            # As glibc has it by itself: a kernel that lies about itself crashes it once.
            return {}
        kernel = os.uname()
        return allocator_environment(os.environ, system=kernel.sysname, release=kernel.release)

    def command(self, lineage: Lineage) -> list[str]:
        """The command line that starts it as a member of *lineage*."""
        drain_seconds = max(1, round(self.drain_time.total_seconds()))
        out = [str(self.binary), "-c", str(self.bootstrap)]
        if self.override is not None:
            out += ["--config-yaml", json.dumps(self.override)]
        out += ["--base-id", str(lineage.base_id), "--restart-epoch", str(lineage.epoch)]
        if lineage.epoch:
            out.append("--skip-hot-restart-on-no-parent")
        out += ["--socket-path", str(self.sockets / "hot"), "--socket-mode", "600"]
        out += ["--log-level", "warning", "--drain-time-s", str(drain_seconds)]
        margin = int(_SHUTDOWN_MARGIN.total_seconds())
        out += ["--parent-shutdown-time-s", str(drain_seconds + margin)]
        if self.concurrency is not None:
            out += ["--concurrency", str(self.concurrency)]
        return out


async def is_ready(admin: AdminClient, lineage: Lineage | None) -> bool:
    """Whether the Envoy that answers is ready, and is the one of *lineage*.

    A predecessor answers at the same socket until its successor has come so far.
    """
    if not await admin.is_ready():
        return False
    if lineage is None:
        return True
    try:
        options = (await admin.server_info())["command_line_options"]
        return lineage == Lineage(int(options["base_id"]), int(options["restart_epoch"]))
    except (EnvoyDoesNotAnswer, KeyError, ValueError):
        return False


def lineage_of(facts: Mapping[str, str]) -> Lineage | None:
    """The lineage noted in *facts*."""
    try:
        return Lineage(int(facts["base_id"]), int(facts["epoch"]))
    except (KeyError, ValueError):
        return None


def facts_of(launch: Launch, lineage: Lineage, kind: str) -> dict[str, str]:
    """What to note of an Envoy: `lineage_of` reads it."""
    return {
        "kind": kind,
        "version": launch.version,
        "fingerprint": launch.fingerprint(),
        "sockets": str(launch.sockets),
        "base_id": str(lineage.base_id),
        "epoch": str(lineage.epoch),
    }
