"""Which instance gets the next request: zones, weights, two choices, ejection, panic."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from moreton.kernel.arguments import check_duration, check_kind, check_number, check_whole
from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.registry.core.changes import serving
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.discovery.core.members import Ejection, Member, Outcome
from moreton.registry.discovery.core.subsets import subset_of
from moreton.registry.discovery.core.zones import zone_shares

# How often a sample may fall on one that cannot be used, before all are looked at.
_SAMPLES_MAX = 8
# A new instance gets at least this share of its requests, or it would never be found warm.
WARMTH_MIN = 0.1
_SUBSET_MAX = 10_000
_FAR = timedelta(days=10_000)


@dataclass(frozen=True, slots=True)
class Balancing:
    """How a client spreads its requests; a value that cannot be meant is refused.

    *zone*: where the client runs; its requests stay there as far as that overloads no instance.
    *subset*: to how many instances of a service it talks at most; `None` for all.
    *slow_start*: over how long an instance that is new grows to its share; 0 for at once.
    *failures*: after so many in a row without an answer an instance is left alone; one whose port
    is closed is at once. *ejection* and *ejection_max*: for how long, doubled each time.
    *panic_below*: when less than this share of the weights is left, those that failed are used
    again, as whatever fails that many is not theirs alone.
    """

    zone: str = ""
    subset: int | None = None
    slow_start: timedelta = timedelta(0)
    failures: int = 3
    ejection: timedelta = timedelta(seconds=1)
    ejection_max: timedelta = timedelta(seconds=30)
    panic_below: float = 0.5

    def __post_init__(self) -> None:
        check_kind("zone", self.zone, str)
        if self.subset is not None:
            check_whole("subset", self.subset, 1, _SUBSET_MAX)
        check_duration("slow_start", self.slow_start, zero=True)
        check_whole("failures", self.failures, 1)
        check_duration("ejection", self.ejection)
        check_duration("ejection_max", self.ejection_max)
        check_number("panic_below", self.panic_below, 0, 1)


@dataclass(frozen=True, slots=True)
class BalancerStatistics:
    """What a client sees of a service now: how many instances it knows, and how they fare."""

    instances: int
    in_subset: int
    ejected: int
    ejected_total: int
    outstanding: int
    panic: bool
    zone_shares: Mapping[str, float]


class _Zone:
    """The members of one zone that this client talks to."""

    def __init__(self, members: Sequence[Member], capacity: float) -> None:
        self.members = members
        self.capacity = capacity  # of all in the zone, not of the subset alone
        self.sums = list(accumulate(each.instance.weight for each in members))


class Balancer:
    """Chooses instances of one service for one client; not for several threads at a time.

    Of two members drawn by weight the one with fewer requests under way, in proportion to its
    weight, is taken: no instance gets much more than its share, and a slow one gets less. With
    nothing under way anywhere the requests are spread by weight. O(log n) a choice.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    """

    def __init__(self, settings: Balancing, rng: Rng, *, key: str) -> None:
        self._settings = settings
        self._ejection = Ejection(settings.failures, settings.ejection, settings.ejection_max)
        self._rng = rng
        self._key = key
        self._members: dict[InstanceId, Member] = {}
        self._instances: tuple[Instance, ...] | None = None
        self._zones: dict[str, _Zone] = {}
        self._callers: Mapping[str, float] = {}
        self._shares: list[tuple[_Zone, float]] = []  # running sums of the shares
        self._shown: dict[str, float] = {}
        self._panic = False
        self._valid_until: Instant | None = None  # `None`: the shares have to be made anew

    def update(self, instances: Sequence[Instance], now: Instant) -> None:
        """These are the instances now; what was seen of those that stay is kept."""
        found = serving(instances)
        if found == self._instances:
            return
        is_first = not self._members
        members: dict[InstanceId, Member] = {}
        for instance in found:
            member = self._members.get(instance.id)
            if member is None or member.instance.endpoint != instance.endpoint:
                member = Member(instance, since=None if is_first else now)
            member.instance = instance
            members[instance.id] = member
        self._instances = found
        self._members = members
        self._make_zones()

    def callers(self, callers: Mapping[str, float]) -> None:
        """How many requests each zone makes of this service, in any unit."""
        self._callers = dict(callers)
        self._valid_until = None

    def choose(self, now: Instant, avoid: Collection[InstanceId] = ()) -> Member | None:
        """A member for the next request, which counts as under way from now on.

        None of *avoid*, where another can be used. `None` when there is no instance at all. Tell
        `ended` what became of it.
        """
        if self._valid_until is None or now >= self._valid_until:
            self._share_out(now)
        if not self._shares:
            return None
        zone = self._draw_zone()
        first = self._draw(zone, now, avoid)
        chosen = first if first is not None else self._any(now, avoid)
        if first is not None and len(zone.members) > 1:
            second = self._draw(zone, now, (*avoid, first.instance.id))
            if second is not None and self._load(second, now) < self._load(first, now):
                chosen = second
        chosen.outstanding += 1
        return chosen

    def ended(self, member: Member, outcome: Outcome, now: Instant) -> None:
        """A request to *member* ended."""
        if member.take(outcome, now, self._ejection):
            self._valid_until = None

    def statistics(self, now: Instant) -> BalancerStatistics:
        """The state at *now*."""
        if self._valid_until is None or now >= self._valid_until:
            self._share_out(now)
        members = self._members.values()
        return BalancerStatistics(
            instances=len(members),
            in_subset=sum(len(zone.members) for zone in self._zones.values()),
            ejected=sum(each.is_ejected(now) for each in members),
            ejected_total=sum(each.ejected_total for each in members),
            outstanding=sum(each.outstanding for each in members),
            panic=self._panic,
            zone_shares=dict(self._shown),
        )

    def _make_zones(self) -> None:
        by_zone: dict[str, list[Member]] = {}
        for member in self._members.values():
            # Without a zone of its own, a client knows of no near and far.
            name = member.instance.zone if self._settings.zone else ""
            by_zone.setdefault(name, []).append(member)
        whole = sum(each.instance.weight for each in self._members.values())
        self._zones = {}
        for name, members in by_zone.items():
            capacity = float(sum(each.instance.weight for each in members))
            self._zones[name] = _Zone(self._few(members, capacity / whole), capacity)
        self._valid_until = None

    def _few(self, members: list[Member], part: float) -> list[Member]:
        """The subset's members in a zone that has *part* of all weights."""
        size = self._settings.subset
        if size is None or len(self._members) <= size:
            return members
        weights = {str(each.instance.id): float(each.instance.weight) for each in members}
        names = set(subset_of(weights, self._key, max(1, round(size * part))))
        return [each for each in members if each.instance.id in names]

    def _share_out(self, now: Instant) -> None:
        """Make the zones' shares anew; they hold until an ejection ends."""
        members = [each for zone in self._zones.values() for each in zone.members]
        whole = sum(each.instance.weight for each in members)
        left = sum(each.instance.weight for each in members if not each.is_ejected(now))
        self._panic = left < self._settings.panic_below * whole
        capacity = {}
        for name, zone in self._zones.items():
            usable = [each for each in zone.members if self._counts(each, now)]
            part = sum(each.instance.weight for each in usable) / zone.sums[-1]
            capacity[name] = zone.capacity * part
        if not any(capacity.values()):
            capacity = {name: zone.capacity for name, zone in self._zones.items()}
        own = self._settings.zone
        callers = self._callers if own else {}
        self._shown = zone_shares(own, callers, capacity)
        sums = accumulate(self._shown.values())
        self._shares = [
            (self._zones[name], end) for name, end in zip(self._shown, sums, strict=True)
        ]
        ends = [each.ejected_until for each in members if each.is_ejected(now)]
        self._valid_until = min((end for end in ends if end is not None), default=now + _FAR)

    def _counts(self, member: Member, now: Instant) -> bool:
        return not member.is_ejected(now) or (self._panic and not member.refused)

    def _draw_zone(self) -> _Zone:
        if len(self._shares) == 1:
            return self._shares[0][0]
        point = self._rng.random() * self._shares[-1][1]
        return next((zone for zone, end in self._shares if point < end), self._shares[-1][0])

    def _draw(self, zone: _Zone, now: Instant, avoid: Collection[InstanceId]) -> Member | None:
        """A usable member of *zone*, drawn by weight."""
        slow_start = self._settings.slow_start
        for _ in range(_SAMPLES_MAX):
            index = bisect(zone.sums, self._rng.random() * zone.sums[-1])
            member = zone.members[min(index, len(zone.members) - 1)]
            if member.instance.id in avoid or not member.is_usable(now, panic=self._panic):
                continue
            warmth = member.warmth(now, slow_start, WARMTH_MIN)
            if warmth >= 1.0 or self._rng.random() < warmth:
                return member
        usable = [each for each in zone.members if each.instance.id not in avoid]
        return self._by_weight([each for each in usable if each.is_usable(now, panic=self._panic)])

    def _any(self, now: Instant, avoid: Collection[InstanceId]) -> Member:
        """The best there is anywhere, when the zone that was drawn has none to use."""

        def usable(members: Iterable[Member]) -> list[Member]:
            return [each for each in members if each.is_usable(now, panic=self._panic)]

        subset = [each for zone in self._zones.values() for each in zone.members]
        others = [each for each in subset if each.instance.id not in avoid]
        # A client whose whole subset is down goes beyond it.
        beyond = [each for each in self._members.values() if each.instance.id not in avoid]
        ladder: tuple[Callable[[], Sequence[Member]], ...] = (
            lambda: usable(others),
            lambda: usable(beyond),
            lambda: usable(subset),
            lambda: [each for each in others if not each.refused],
            lambda: others,
        )
        for rung in ladder:
            chosen = self._by_weight(rung())
            if chosen is not None:
                return chosen
        chosen = self._by_weight(subset)
        assert chosen is not None, "a zone has members"
        return chosen

    def _by_weight(self, members: Sequence[Member]) -> Member | None:
        if not members:
            return None
        sums = list(accumulate(each.instance.weight for each in members))
        index = bisect(sums, self._rng.random() * sums[-1])
        return members[min(index, len(members) - 1)]

    def _load(self, member: Member, now: Instant) -> float:
        warmth = member.warmth(now, self._settings.slow_start, WARMTH_MIN)
        return member.outstanding / (member.instance.weight * warmth)
