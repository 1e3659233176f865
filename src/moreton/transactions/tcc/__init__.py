"""Several services each reserve, then all confirm, or all let go.

Use it where what a step changes must not be seen, or be taken by others, before the whole is
certain: seats, stock, credit. Not where an undoing afterwards will do (a saga asks less of the
services), and not between databases that one program can reach itself (two-phase commit).

Guarantees: a decision is on disk before anybody hears of it; after a kill at any moment all
branches end confirmed, or all undone; what is not decided by its expiry is undone. A participant
that does not answer is asked again until it does, without end. Between its action and the decision
a participant keeps what it reserved: if the coordinator is away, for as long as it is away::

    tcc = Coordinator(open_log("sqlite:///orders.db"), {"stock": stock, "payment": payment})

    outcome = tcc.run({"stock": {"fig": 2}, "payment": {"cents": 900}})
    if not outcome:
        print(outcome.why)  # payment: no money
"""

from moreton.transactions.barrier.call import Act, Call
from moreton.transactions.tcc.coordinator import Coordinator, Outcome, open_log
from moreton.transactions.tcc.core.machine import State
from moreton.transactions.tcc.errors import Refused
from moreton.transactions.tcc.http import HttpParticipant
from moreton.transactions.tcc.log import Record, TccLog

__all__ = [
    "Act",
    "Call",
    "Coordinator",
    "HttpParticipant",
    "Outcome",
    "Record",
    "Refused",
    "State",
    "TccLog",
    "open_log",
]
