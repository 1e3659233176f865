"""How the requests of one zone are shared out among the zones of a service."""

from __future__ import annotations

from collections.abc import Mapping


def zone_shares(
    own: str, callers: Mapping[str, float], capacity: Mapping[str, float]
) -> dict[str, float]:
    """The share of the requests from zone *own* that goes to each zone of *capacity*; sums to 1.

    *callers* says how many requests each zone makes, *capacity* how many it can take, both in
    any unit. As many as possible stay in their zone, and when every zone shares out like this,
    each gets exactly what its capacity is of the whole: no zone is overloaded because it is near.
    With *callers* empty each zone is taken to make as many requests as any other. O(zones).

    Source: Envoy, "Zone aware routing"; its `calculateZonePercentages` and residual capacity.
    """
    total = sum(capacity.values())
    if total <= 0:
        return {}
    takes = {zone: amount / total for zone, amount in capacity.items() if amount > 0}
    makes = _normal(callers, {*takes, own})
    here = makes.get(own, 0.0)
    # Nobody is known to call from here: what this caller adds is too little to overload anyone.
    stays = 1.0 if here <= 0 else min(1.0, takes.get(own, 0.0) / here)
    if own not in takes:
        stays = 0.0
    shares = {own: stays} if stays > 0 else {}
    if stays >= 1.0:
        return shares
    room = {
        zone: max(0.0, part - makes.get(zone, 0.0)) for zone, part in takes.items() if zone != own
    }
    if sum(room.values()) <= 0:
        room = {zone: part for zone, part in takes.items() if zone != own}
    whole = sum(room.values())
    if whole <= 0:
        return {own: 1.0}
    spills = 1.0 - stays
    for zone, part in room.items():
        if part > 0:
            shares[zone] = spills * part / whole
    return shares


def _normal(callers: Mapping[str, float], zones: set[str]) -> dict[str, float]:
    total = sum(amount for amount in callers.values() if amount > 0)
    if total <= 0:
        return {zone: 1.0 / len(zones) for zone in zones}
    return {zone: amount / total for zone, amount in callers.items() if amount > 0}
