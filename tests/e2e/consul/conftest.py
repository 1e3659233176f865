from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.consul.world import ConsulServer


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    """One for a file: its tests use services and keys of their own."""
    with ConsulServer() as one:
        yield one
