"""Who leads, who may go in, and in whose name a write is made: leases with fencing tokens.

Use it for what one of several processes is to do: a scheduler, a migration, a queue's only reader.
Not for what a transaction of your database can decide by itself, nor to count on a lock alone where
an outdated write would do harm: pass the token on and let the other side refuse older ones.

Guarantees, on every store: at most one leader by tokens, which only grow; whoever cannot renew its
lease stops before others may begin; a write with an old token is refused; first come, first in; a
leader that ends well hands over at once, one that dies after its ttl at the latest; renewing writes
nothing to the store::

    store = open_store("etcd://10.0.0.5:2379")
    async with Election(store, "rollouts", ttl=timedelta(seconds=10)).campaign(b"node-1") as term:
        while True:
            step = await next_step()
            await term.write([Put(b"rollouts/step", step)])  # FencedOff if another leads by now

When the leadership is lost the body is cancelled, and ends by `LeadershipLost`. `lead` does the
loop round it. Ring algorithms are in `moreton.election.ring`.
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.election.campaigns import Election
    from moreton.election.core.errors import FencedOff, LeadershipLost, LockLost, StillHeld
    from moreton.election.core.fencing import Fence
    from moreton.election.locks import Lock, ReadWriteLock, Semaphore
    from moreton.election.term import Holder, Term
else:  # who takes one part of it loads no other
    __getattr__ = on_demand(
        __name__,
        {
            "campaigns": ["Election"],
            "core.errors": ["FencedOff", "LeadershipLost", "LockLost", "StillHeld"],
            "core.fencing": ["Fence"],
            "locks": ["Lock", "ReadWriteLock", "Semaphore"],
            "term": ["Holder", "Term"],
        },
    )

__all__ = [
    "Election",
    "Fence",
    "FencedOff",
    "Holder",
    "LeadershipLost",
    "Lock",
    "LockLost",
    "ReadWriteLock",
    "Semaphore",
    "StillHeld",
    "Term",
]
