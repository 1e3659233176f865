"""All that is said of one instance, and what counts of it.

An order comes before failed health, and that before what the instance says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from moreton.kernel.quantities import format_duration
from moreton.registry.core.checks import Care, Check, TtlProbe
from moreton.registry.core.documents import (
    HEALTH,
    KNOWN,
    ORDER,
    REGISTRATION,
    REPORT,
    decode,
    decode_health,
    decode_order,
    decode_report,
)
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import (
    NOT_YET,
    CheckResult,
    CheckStatus,
    Health,
    InstanceState,
    Order,
)

_NOTHING: Mapping[str, CheckResult] = MappingProxyType({})
_KEPT = "kept in use, as too many of its service fell at once"


@dataclass(slots=True)
class Common:
    """What is said of all instances of a service, since which revision of the store."""

    care: Care = field(default_factory=Care)
    revision: int = 0


@dataclass(slots=True)
class Record:
    """All that is said of one instance; *registration* is what it says itself.

    *known* is its last registration as it is stored, which outlives a lease: by it the instance is
    counted, and may be kept in use, until the leader has made sure that it fell alone.
    """

    common: Common
    registration: Instance | None = None
    created: int = 0  # the revision that began the registration
    health: Health | None = None
    order: Order | None = None
    known: bytes | None = None
    # Most have none, and there are many records: they share it.
    reports: Mapping[str, CheckResult] = field(default_factory=lambda: _NOTHING)

    def take(self, part: str, value: bytes | None, created: int) -> None:
        """*value*, there since revision *created*, is said in *part*; `None`: nothing."""
        kind, _, name = part.partition("/")
        if part == REGISTRATION:
            self.registration = None if value is None else decode(value)
            self.created = created
        elif part == HEALTH:
            self.health = None if value is None else decode_health(value)
        elif part == ORDER:
            self.order = None if value is None else decode_order(value)
        elif part == KNOWN:
            self.known = value
        elif kind == REPORT:
            report = None if value is None else decode_report(value)
            others = {each: found for each, found in self.reports.items() if each != name}
            self.reports = others if report is None else {**others, name: report}

    def is_empty(self) -> bool:
        """Whether nothing is said."""
        said = (self.registration, self.health, self.order, self.known)
        return not self.reports and all(each is None for each in said)

    def effective(self) -> Instance | None:
        """The instance as everybody is to see it; `None` while it is not registered."""
        own = self.registration
        if own is None or (self.order is None and not own.checks and not self.common.care.checks):
            return own
        checks = tuple(self._checks(own))
        health = self._found(own)
        state, reason = own.state, ""
        failed = health.critical()
        if self.order is not None:
            state, reason = self.order.state, _ordered(self.order)
        elif failed is not None:
            state, reason = InstanceState.CRITICAL, f"check {failed.id}: {failed.output}"
        elif health.status is CheckStatus.CRITICAL and own.state is InstanceState.SERVING:
            state, reason = InstanceState.STARTING, "its checks have not passed yet"
        shown = health if checks else None
        return replace(
            own, state=state, reason=reason, order=self.order, health=shown, checks=checks
        )

    def is_up(self) -> bool:
        """Whether it is in use."""
        found = self.effective()
        return found is not None and found.state is InstanceState.SERVING

    def last_known(self) -> Instance | None:
        """The registration that outlives a lease."""
        return None if self.known is None else decode(self.known)

    def is_fallen(self) -> bool:
        """Whether it was in use and is not, by nobody's will: its lease ended, or a check fails."""
        if self.known is None or self.order is not None:
            return False
        own = self.registration or self.last_known()
        if own is None or own.state is not InstanceState.SERVING:
            return False
        return self.registration is None or any(each.is_failure() for each in self._results(own))

    def kept(self) -> Instance | None:
        """The fallen instance, in use all the same."""
        own = self.registration
        if own is None:
            own, why, health = self.last_known(), "its lease ended", None
        else:
            failed = next(each for each in self._results(own) if each.is_failure())
            why, health = f"check {failed.id}: {failed.output}", self._found(own)
        if own is None:
            return None
        checks = tuple(self._checks(own))
        return replace(own, reason=f"{_KEPT} ({why})", health=health, checks=checks, kept=True)

    def _found(self, own: Instance) -> Health:
        return Health(tuple(self._results(own)))

    def _checks(self, own: Instance) -> Iterator[Check]:
        yield from own.checks
        ids = {each.id for each in own.checks}
        yield from (each for each in self.common.care.checks if each.id not in ids)

    def _results(self, own: Instance) -> Iterator[CheckResult]:
        found = {} if self.health is None else {each.id: each for each in self.health.checks}
        # A check that came later takes nobody out before it found something.
        is_later = self.created <= self.common.revision
        for check in self._checks(own):
            if isinstance(check.probe, TtlProbe):
                yield self.reports.get(check.id) or _unreported(check, check.probe)
                continue
            trusted = is_later and check not in own.checks
            initial = CheckStatus.PASSING if trusted else check.initial
            yield found.get(check.id) or CheckResult(check.id, initial, None, NOT_YET)


def _unreported(check: Check, probe: TtlProbe) -> CheckResult:
    output = f"nothing was reported for {format_duration(probe.ttl)}"
    return CheckResult(check.id, CheckStatus.CRITICAL, None, output)


def _ordered(order: Order) -> str:
    by = f" by {order.by}" if order.by else ""
    why = f": {order.reason}" if order.reason else ""
    return f"{order.state} ordered{by}{why}"
