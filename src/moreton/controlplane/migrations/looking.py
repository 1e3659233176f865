"""What was counted of both sides of a migration, on its route, since the last time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from moreton.controlplane.migrations.copies import Copies, Counted
from moreton.controlplane.migrations.prometheus import ask
from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.gateway.compile.moving.counting import counted_name, counted_pattern
from moreton.kernel.time import Clock, Instant
from moreton.strangler.rollout.core.plan import LatencyGate, MetricGate, Plan
from moreton.strangler.rollout.core.sides import Bin, Look, Reading, Side

# Envoy counts whole milliseconds, however narrow its bins are.
_MILLISECOND = 1.0
# A query costs Prometheus something; what it says changes as often as it scrapes.
ASK_EVERY = timedelta(seconds=5)
_HERE = ""  # no node's name

Sides: TypeAlias = tuple[Side, Side]  # of the baseline and of the candidate
# What the other nodes' Envoys counted of a migration, by node.
Told: TypeAlias = Callable[[str], Awaitable[Mapping[str, Sides]]]


class Counting:
    """What the Envoy behind *admin* has counted so far."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    async def sides(self, plan: Plan) -> Sides:
        """What both sides of *plan* answered to its route. Raises `EnvoyDoesNotAnswer`."""
        names = counted_pattern((plan.baseline, plan.candidate), plan.route)
        pattern = f"{names}(completed|5xx|504)$"
        counts = await self._admin.stats(pattern, only_counters=True, only_used=True)
        times: Mapping[str, dict[Bin, int]] = {}
        if any(isinstance(gate, LatencyGate) for gate in plan.gates):
            times = await self._times(f"{names}time$")
        baseline, candidate = (
            _side(counted_name(each, plan.route), counts, times)
            for each in (plan.baseline, plan.candidate)
        )
        return baseline, candidate

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


class Looker:
    """Looks at what Envoys count and comparisons find; each look tells what came on top.

    *counting* is of this node's Envoy, *told* of the others', by node.
    """

    def __init__(self, counting: Counting, told: Told, copies: Copies, clock: Clock) -> None:
        self._counting = counting
        self._told = told
        self._copies = copies
        self._clock = clock
        self._before: dict[str, dict[str, Sides]] = {}  # by migration, by node
        self._compared: dict[str, Counted] = {}
        self._asking: dict[str, asyncio.Task[dict[str, Reading]]] = {}
        self._asked: dict[str, Instant] = {}

    async def look(self, plan: Plan) -> Look:
        """What both sides of *plan* did since the last look; of the first one nothing is known."""
        readings = self._readings(plan)
        try:
            found = {_HERE: await self._counting.sides(plan), **await self._told(plan.name)}
        except EnvoyDoesNotAnswer as error:
            return Look(trouble=str(error))
        before = self._before.get(plan.name, {})
        self._before[plan.name] = {**before, **found}
        old, new = Side(), Side()
        for node, (baseline, candidate) in found.items():
            if node in before:
                old += baseline.since(before[node][0])
                new += candidate.since(before[node][1])
        return await self._with_compared(plan, Look(old, new, readings=readings))

    async def _with_compared(self, plan: Plan, look: Look) -> Look:
        if not any(stage.copies for stage in plan.stages):
            return look
        counts = await self._copies.counts(plan.route)
        before = self._compared.get(plan.name, counts)
        self._compared[plan.name] = counts
        return replace(
            look,
            compared=max(0, counts.compared - before.compared),
            different=max(0, counts.different - before.different),
            undecided=max(0, counts.undecided - before.undecided),
            uncompared=self._copies.trouble(plan.route),
        )

    def forget(self, name: str) -> None:
        """What *name* was is of no use: it is over, or begins anew later."""
        for known in (self._before, self._compared):
            known.pop(name, None)
        # What was asked for then says nothing of a later try.
        self._asked.pop(name, None)
        if (asking := self._asking.pop(name, None)) is not None:
            asking.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for task in self._asking.values():
            task.cancel()

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


def _side(name: str, counts: Mapping[str, int], times: Mapping[str, dict[Bin, int]]) -> Side:
    return Side(
        counts.get(f"{name}completed", 0),
        counts.get(f"{name}5xx", 0),
        times.get(f"{name}time", {}),
        counts.get(f"{name}504", 0),
    )
