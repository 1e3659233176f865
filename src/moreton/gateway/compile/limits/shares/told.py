"""The shares of limits that a proxy was told, by gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from moreton.envoy.core.resources import Resource
from moreton.gateway.compile.limits.shares.charges import charge, charges
from moreton.gateway.compile.limits.shares.filters import rule_units
from moreton.ratelimit.core.rules.values import LimitRule
from moreton.ratelimit.quota import FLOOR

_WHOLE = 1.0


@dataclass(frozen=True, slots=True)
class _Told:
    kept: Mapping[str, float]
    lent: Mapping[str, float]
    seconds: float


class ToldShares:
    """What each gateway acts by; one that was never told anything has all of every limit."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def tell(
        self, gateway: str, kept: Mapping[str, float], lent: Mapping[str, float], seconds: float
    ) -> None:
        """Act by the shares *kept*, and for *seconds* by those *lent*, by the rules' names."""
        self._told[gateway] = _Told(dict(kept), dict(lent), seconds)

    def forget(self, gateway: str) -> None:
        """*gateway* is gone."""
        self._told.pop(gateway, None)

    def charges(self, gateway: str, rules: Iterable[LimitRule]) -> list[Resource]:
        """The resources with what *rules* charge at *gateway*."""
        told = self._told.get(gateway)
        kept, lent = {}, {}
        for rule in rules:
            units, cost = rule_units(rule), rule.cost.number
            # One that was told of others begins with this one as a newcomer.
            share = _WHOLE if told is None else told.kept.get(rule.name, FLOOR)
            kept[rule.name] = charge(share, units, cost)
            if told is not None and rule.name in told.lent:
                lent[rule.name] = charge(told.lent[rule.name], units, cost)
        return charges(gateway, kept, lent, 0.0 if told is None else told.seconds)
