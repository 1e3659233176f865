from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.health.ward import Ward
from e2e.up.world import world_in


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with world_in(tmp_path_factory.mktemp("health") / "shop") as world:
        ward = Ward(world)
        ward.begin()
        yield ward
        ward.end()
