"""Ring elections: LCR, Chang-Roberts, Hirschberg-Sinclair, and bully, with members that may die.

Use it to see and to measure the classical algorithms, and to choose one of a few members that know
each other where there is no store. Where there is one, a lease on a key is simpler and as safe; not
for more than some hundred members, nor across networks that you do not trust.

Guarantees: all members that can reach each other come to follow one leader. With a store behind it
an election has at most one leader, its token is larger than all before, and whoever acts with an
older one is refused. Without a store the result is advisory: a divided ring has two leaders.

    store = open_store("sqlite:///state.sqlite")
    claims = StoreClaims(store, "jobs")
    async with RingMember("jobs", Uid(7), claims=claims, on_follow=changed) as member:
        member.join({Uid(3): Address("10.0.0.3", 7000), Uid(7): member.address})
        decision = await member.wait_decided()
        if member.is_leader:
            await claims.write(decision.token, [Put(b"jobs/next", b"42")])
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.election.ring.claims import AdvisoryClaims, Claims, StoreClaims
    from moreton.election.ring.core.algorithms import Algorithm
    from moreton.election.ring.core.errors import DuplicateUid, FencedOff
    from moreton.election.ring.core.frames import Decision, Timings
    from moreton.election.ring.core.lap import Outcome, elect
    from moreton.election.ring.core.ring import Uid
    from moreton.election.ring.host import RingMember
    from moreton.election.ring.links import Address
    from moreton.election.ring.processes import RingProcesses
else:  # `moreton ring` asks for the algorithms' names first
    __getattr__ = on_demand(
        __name__,
        {
            "claims": ["AdvisoryClaims", "Claims", "StoreClaims"],
            "core.algorithms": ["Algorithm"],
            "core.errors": ["DuplicateUid", "FencedOff"],
            "core.frames": ["Decision", "Timings"],
            "core.lap": ["Outcome", "elect"],
            "core.ring": ["Uid"],
            "host": ["RingMember"],
            "links": ["Address"],
            "processes": ["RingProcesses"],
        },
    )

__all__ = [
    "Address",
    "AdvisoryClaims",
    "Algorithm",
    "Claims",
    "Decision",
    "DuplicateUid",
    "FencedOff",
    "Outcome",
    "RingMember",
    "RingProcesses",
    "StoreClaims",
    "Timings",
    "Uid",
    "elect",
]
