"""What share of a limit each of its holders should have, by what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moreton.kernel.arguments import check_number, check_whole

# So much of a limit a holder has of whom nothing is asked: its first requests need not wait for a
# division, and the busy ones miss it. With 1 % five stay within 5 % of the limit.
FLOOR = 0.01
# What all floors take together at most, however many holders there are.
FLOORS_MAX = 0.5
# Who asks for less than an equal share gets so much more than it asked for: what is asked in half a
# second varies, and the rest of it is needed by others.
HEADROOM = 1.02


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit that several holders share: *rate* requests a second, of which *burst* at once.

    With *keyed* each key (a client, a tenant) has that much for itself.
    """

    rate: float
    burst: int
    keyed: bool = False

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0, why="nothing would ever pass", above=True)
        check_whole("burst", self.burst, 1, why="nothing would ever pass")


def floor_of(quota: Quota, holders: int) -> float:
    """The least share of each of *holders* of *quota*.

    With less than 1 / burst a holder could let nothing pass, ever; more than half of the limit
    floors do not take.
    """
    return min(max(FLOOR, 1 / quota.burst), FLOORS_MAX / max(1, holders))


def divide(quota: Quota, demands: Mapping[str, float]) -> dict[str, float]:
    """Shares that sum to 1, for holders that are asked for *demands* requests a second.

    Max-min fair: nobody gets more than it asked for while another could use it, and who asks for
    more than an equal part of what is left gets that part. What nobody asked for is divided
    equally, so that each has room to grow. Nobody gets less than the floor. O(n log n).

    How much each key of a *keyed* quota asks for nobody counts: there the shares are as the
    demands, which is right for keys whose requests come to the holders as those of all do.

    Source: Bertsekas and Gallager, "Data Networks", 2nd edition, section 6.5.2.
    """
    floor = floor_of(quota, len(demands))
    # Of a keyed quota each may have as much as it is asked for.
    whole = (sum(demands.values()) or 1.0) if quota.keyed else quota.rate
    wanted = {holder: max(floor, demand * HEADROOM / whole) for holder, demand in demands.items()}
    shares: dict[str, float] = {}
    rest, waiting = 1.0, len(wanted)
    for holder in sorted(wanted, key=lambda name: (wanted[name], name)):
        shares[holder] = min(wanted[holder], rest / waiting)
        rest -= shares[holder]
        waiting -= 1
    spare = max(0.0, rest) / max(1, len(shares))
    return {holder: share + spare for holder, share in shares.items()}
