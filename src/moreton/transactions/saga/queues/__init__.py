"""Queues: sagas that begin only as fast, and as many at a time, as what they call can bear.

Use it where what a step calls has a limit of its own: a bank that takes ten calls at once, a mail
service with a hundred letters a minute. Not to let sagas in one after the other on what they change
(that is `Saga(locks=)`), nor to keep a saga's place while it waits for a person.

Guarantees: over all engines of the log never more than *at_once* are worked on, and in no window of
the rate's length do more begin; both are counted in the transaction that takes a saga, so that they
hold through kills and restarts. A place is a saga that an engine has at present: one that waits for
a signal, a child or its time gives it up, and what an engine that vanished had comes back with its
lease. Those of higher priority begin first; what was begun goes on before others begin::

    BANK = Queue("bank", at_once=10, per_engine=4, rate="100/min")
    with Sagas("postgresql://app@db/shop", ORDER, queues=[BANK]) as sagas:
        sagas.start(ORDER, {"article": "fig"}, queue=BANK, priority=5)
"""

from moreton.transactions.saga.queues.queue import Queue

__all__ = ["Queue"]
