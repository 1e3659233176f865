"""What every test gets: the plugin that users get, and property tests that repeat themselves."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from support.order import mixed
from support.signals import heed_in_children

if TYPE_CHECKING:
    from support.postgres_server import PostgresServer

pytest_plugins = ["moreton.testing.plugin"]
heed_in_children()
TESTS = Path(__file__).parent

# A machine may be busy: no example is wrong because it took long.
settings.register_profile("patient", deadline=None)
# One push must not fail for what another found: new examples are for people, and `make soak`.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "patient")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let no test wait 40 ms: that long a question of the plugin for reruns is held back.

    It writes twice before it reads, and a second small write waits for the delayed
    acknowledgement of the first.
    """
    asking = getattr(getattr(config, "failures_db", None), "sock", None)
    if isinstance(asking, socket.socket):
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files, mix them; alone, all stay in their order."""
    if not hasattr(config, "workerinput"):
        return
    files: dict[tuple[str, ...], list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path.parts[len(TESTS.parts) :], []).append(item)
    items[:] = [item for each in mixed(list(files)) for item in files[each]]


def pytest_collection_finish() -> None:
    """Half a million objects of the tests themselves stay to the end: no collection visits them.

    Nor does one in a forked child copy the pages on which they lie.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of a worker; each takes a `new_database` of it."""
    from support.postgres_server import running_postgres  # noqa: PLC0415 - few tests need it

    with running_postgres() as server:
        yield server
