from __future__ import annotations

from collections.abc import Sequence

import pytest

from moreton.controlplane.publishing.culprits import find_culprits
from moreton.controlplane.publishing.ports import Tried
from moreton.gateway.core.model import Destination, Route, RouteMatch
from moreton.kernel.patterns import PathKind, PathPattern


def routes(count: int) -> list[Route]:
    match = RouteMatch(PathPattern(PathKind.EXACT, "/", "/"))
    return [Route(f"r{number}", match, to=(Destination("a"),)) for number in range(count)]


class Envoy:
    """Refuses what holds one of *bad*, as `--mode validate` does: without saying which."""

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.asked = 0

    async def preflight(self, part: Sequence[Tried]) -> str:
        self.asked += 1
        return "missing ]: [" if self.bad & {one.name for one in part} else ""


@pytest.mark.parametrize("bad", [["r0"], ["r99"], ["r3", "r4"], ["r0", "r50", "r99"]])
async def test_every_culprit_among_many_is_found_with_its_reason(bad: list[str]) -> None:
    envoy = Envoy(*bad)
    found = await find_culprits(routes(100), envoy.preflight)
    assert found == dict.fromkeys(bad, "missing ]: [")
    assert envoy.asked <= len(bad) * 2 * 8


async def test_nobody_is_blamed_when_each_passes_by_itself() -> None:
    assert await find_culprits(routes(10), Envoy().preflight) == {}
    assert await find_culprits([], Envoy("r0").preflight) == {}
