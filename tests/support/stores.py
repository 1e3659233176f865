"""Every backend of the store, for what must hold on each of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from moreton.store import Store

# Opens one more client of the same state.
OpenStore = Callable[[], Store]
_NUMBERS = count()


def etcd_url(request: pytest.FixtureRequest, _: Path) -> str:
    """The session's etcd, under a prefix of this test."""
    server = request.getfixturevalue("etcd_of_session")
    return str(server.url(f"elections{next(_NUMBERS)}"))


# Where an empty store of each kind is found, of those that are opened by an address alone.
URLS: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {
    "memory": lambda _, __: "memory:",
    "sqlite": lambda _, folder: f"sqlite:///{folder}/store.sqlite",
    "etcd": etcd_url,
}
# Only one store at a time may have these open.
OF_ONE_PROCESS = {"memory", "sqlite"}
