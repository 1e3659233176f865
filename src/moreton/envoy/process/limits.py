"""What this machine lets one Envoy have."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

_HEAP_BYTES_MAX = 2 * 1024**3
_HEAP_BYTES_MIN = 128 * 1024**2
_CONNECTIONS_MAX = 50_000
_CONNECTIONS_MIN = 256
# For listeners, the control plane, logs, and upstream connections kept open.
_FILES_SPARE = 512
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def connections_max() -> int:
    """Downstream connections that the limit of open files allows: each may need an upstream one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return _CONNECTIONS_MAX
    return max(_CONNECTIONS_MIN, min(_CONNECTIONS_MAX, (hard - _FILES_SPARE) // 2))


def heap_bytes_max() -> int:
    """2 GiB, or half of the memory where that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or "max"
        memory = min(memory, int(_CGROUP_LIMIT.read_text()))
    return max(_HEAP_BYTES_MIN, min(_HEAP_BYTES_MAX, memory // 2))
