"""Elections and locks for threads: the same names as in `moreton.election`, the same promises.

Use it in code without asyncio: views of Django or Flask, tasks of Celery, scripts. A thread of its
own renews, so that a long computation does not end the lease.

One thing differs: nobody can cancel a thread. When what is held is lost, `Term.check` raises, and
so does the end of the body; call `check` before each step, and let writes be fenced::

    from moreton.election.sync import Lock, SyncStore

    store = SyncStore("etcd://10.0.0.5:2379")  # for the whole program; opened at its first use
    with Lock(store, "nightly report") as held:
        for customer in customers:
            held.check()
            report(customer, fence=held.token)
"""

from moreton.election.sync.campaigns import Election
from moreton.election.sync.engine import SyncStore
from moreton.election.sync.holding import Term
from moreton.election.sync.locks import Lock, ReadWriteLock, Semaphore

__all__ = ["Election", "Lock", "ReadWriteLock", "Semaphore", "SyncStore", "Term"]
