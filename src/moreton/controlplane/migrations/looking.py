"""What Envoy counted of both sides of a migration, since the last time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from moreton.controlplane.migrations.prometheus import ask
from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.kernel.time import Clock, Instant
from moreton.strangler.rollout.core.plan import LatencyGate, MetricGate, Plan
from moreton.strangler.rollout.core.sides import Bin, Look, Reading, Side

# Envoy counts whole milliseconds, however narrow its bins are.
_MILLISECOND = 1.0
# A query costs Prometheus something; what it says changes as often as it scrapes.
ASK_EVERY = timedelta(seconds=5)


class Looker:
    """Looks at what the Envoy behind *admin* counts; each look tells what came on top."""

    def __init__(self, admin: AdminClient, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self._before: dict[str, tuple[Side, Side]] = {}
        self._asking: dict[str, asyncio.Task[dict[str, Reading]]] = {}
        self._asked: dict[str, Instant] = {}

    async def look(self, plan: Plan) -> Look:
        """What both sides of *plan* did since the last look; of the first one nothing is known."""
        readings = self._readings(plan)
        try:
            found = await self._sides(plan)
        except EnvoyDoesNotAnswer as error:
            return Look(trouble=str(error))
        before = self._before.get(plan.name)
        self._before[plan.name] = found
        if before is None:
            return Look(readings=readings)
        old, new = found[0].since(before[0]), found[1].since(before[1])
        return Look(old, new, readings=readings)

    def close(self) -> None:
        """Ask nobody any more."""
        for task in self._asking.values():
            task.cancel()

    async def _sides(self, plan: Plan) -> tuple[Side, Side]:
        services = re.escape(plan.baseline), re.escape(plan.candidate)
        names = rf"^cluster\.({services[0]}|{services[1]})\.upstream_rq_"
        counts = await self._admin.stats(f"{names}(completed|5xx)$")
        times: Mapping[str, dict[Bin, int]] = {}
        if any(isinstance(gate, LatencyGate) for gate in plan.gates):
            times = await self._times(f"{names}time$")
        return _side(plan.baseline, counts, times), _side(plan.candidate, counts, times)

    async def _times(self, pattern: str) -> dict[str, dict[Bin, int]]:
        query = {"format": "json", "histogram_buckets": "detailed", "filter": pattern}
        path = f"/stats?{urlencode(query, quote_via=quote)}"
        try:
            return histograms(json.loads(await self._admin.get(path)))
        except (ValueError, KeyError, TypeError) as error:
            raise EnvoyDoesNotAnswer(
                f"Envoy's histograms cannot be read ({error!r}): its times are unknown; use the "
                "Envoy that comes with this version"
            ) from error

    def _readings(self, plan: Plan) -> dict[str, Reading]:
        """What came in of the metrics; they are asked for beside the looks, which go on."""
        gates = [gate for gate in plan.gates if isinstance(gate, MetricGate)]
        if not gates:
            return {}
        task, now = self._asking.get(plan.name), self._clock.now()
        found: dict[str, Reading] = {}
        if task is not None and task.done():
            found = task.result()
            del self._asking[plan.name]
            task = None
        asked = self._asked.get(plan.name)
        if task is None and (asked is None or now - asked >= ASK_EVERY):
            self._asked[plan.name] = now
            self._asking[plan.name] = asyncio.create_task(_ask_all(gates))
        return found


async def _ask_all(gates: Iterable[MetricGate]) -> dict[str, Reading]:
    wanted = list(gates)
    found = await asyncio.gather(*(ask(gate.url, gate.query) for gate in wanted))
    return {gate.name: reading for gate, reading in zip(wanted, found, strict=True)}


def histograms(document: Any) -> dict[str, dict[Bin, int]]:
    """The bins of each histogram in what `/stats?histogram_buckets=detailed` answers."""
    found: dict[str, dict[Bin, int]] = {}
    for each in document["stats"]:
        for one in each.get("histograms", {}).get("details", ()):
            bins: dict[Bin, int] = {}
            for part in one["totals"]:
                place = Bin(part["lower_bound"], max(part["width"], _MILLISECOND))
                bins[place] = bins.get(place, 0) + part["count"]
            found[one["name"]] = bins
    return found


def _side(service: str, counts: Mapping[str, int], times: Mapping[str, dict[Bin, int]]) -> Side:
    name = f"cluster.{service}.upstream_rq_"
    return Side(
        counts.get(f"{name}completed", 0),
        counts.get(f"{name}5xx", 0),
        times.get(f"{name}time", {}),
    )
