"""The control plane as a process of its own: its memory, its log, its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from moreton.controlplane.life.log import configure_logging

# Enough for some tens of thousands of connections, and no more than programs that close every
# file one by one can go through when they are started from here.
FILES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says, which counts more than `moreton.yaml`."""

    store: str | None = None
    node: str | None = None


def run(path: Path, given: Given, *, debug: bool = False) -> None:
    """`up` in an event loop of its own, with this process's log on standard error."""
    gc.disable()  # until everything is loaded: nothing of it is garbage
    configure_logging(debug=debug)
    # gRPC tells of every process that is started; it need not, none of them uses gRPC.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    _allow_connections()
    from moreton.controlplane.life.up import up  # noqa: PLC0415 - as above

    loop_factory = None
    with contextlib.suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(up(path, given))


def _allow_connections() -> None:
    """Each instance may hold one open: a shell's limit of 1,024 files would end that early."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS permits fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
