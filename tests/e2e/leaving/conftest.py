from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from e2e.leaving.world import Fleet, fleet_in


@pytest.fixture(scope="module", autouse=True)
def heard() -> Iterator[None]:
    """Tests that run in a shell's background ignore SIGINT, and so would all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("leaving") / "shop") as fleet:
        yield fleet
