from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.leaving.world import Fleet, fleet_in


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("leaving") / "shop") as fleet:
        yield fleet
