"""What is asked of a metrics server about one try of a migration says nothing of the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from moreton.controlplane.migrations.copies import NoCopies
from moreton.controlplane.migrations.looking import Counting, Looker, Sides
from moreton.kernel.time import SystemClock
from moreton.strangler.rollout.core.plan import MetricGate, Plan, Stage
from moreton.strangler.rollout.core.sides import Side
from support.flaky import Answer, FlakyServer

STAGES = (Stage("all", 1.0, timedelta(0), 0),)


class Nothing:
    """An Envoy that has seen no request."""

    async def sides(self, _: Plan) -> Sides:
        return Side(), Side()


async def nobody(_: str) -> Mapping[str, Sides]:
    return {}


def value(number: float) -> Answer:
    data = {"resultType": "scalar", "result": [0, str(number)]}
    return Answer(body=json.dumps({"status": "success", "data": data}).encode())


async def test_metric_of_an_earlier_try_is_not_read_in_a_later_one() -> None:
    with FlakyServer() as server:
        server.will(value(1), value(2))
        gate = MetricGate("load", server.url, "up", highest=5)
        plan = Plan("move", "everything", "old", "new", STAGES, (gate,))
        looker = Looker(cast("Counting", Nothing()), nobody, NoCopies(), SystemClock())
        await looker.look(plan)
        while len(server.seen) < 1 or any(not task.done() for task in looker._asking.values()):
            await asyncio.sleep(0.01)
        looker.forget("move")  # it was taken back, and an hour later begins anew
        found: dict[str, float | None] = {}
        while not found:
            found = {name: each.value for name, each in (await looker.look(plan)).readings.items()}
            await asyncio.sleep(0.01)
        assert found == {"load": 2}
        looker.close()
