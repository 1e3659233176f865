from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.forking import Forks

# What is killed here is a process, never the machine: nobody need wait for a disk.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty log of sagas of each kind."""
    if request.param == "sqlite":
        where = _MEMORY if _MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="moreton-", dir=where) as folder:
            yield f"sqlite:///{folder}/sagas.sqlite"
        return
    server = request.getfixturevalue("postgres_of_session")
    yield server.new_schema()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Processes that work on sagas, and may be killed."""
    forks = Forks("support.saga_worker")
    yield forks
    forks.close()
