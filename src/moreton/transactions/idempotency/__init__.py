"""A request that is sent twice with the same `Idempotency-Key` is done once, and answered twice.

Use it where clients try again, and what they ask for must not happen twice: orders, payments. Not
for GET, PUT and DELETE, which may be repeated anyway.

Guarantees: of requests with one key and one caller at most one is handled at a time, in all
processes that share the database; the others are told to wait (409); once it is answered, they get
that answer; the same key with another request is refused (422). A process that dies between the
effect and the kept answer leaves the outcome unknown: the key is refused from then on (409), or, by
`Interrupted.RERUN`, handled again, which is right where the handler asks the barrier with the same
key. A 5xx, and what says "not now", is not kept: the key may try again::

    policy = KeyPolicy(keep_at("sqlite:///keys.db"))
    app = IdempotencyMiddleware(app, policy)  # moreton.transactions.idempotency.servers.asgi
"""

from moreton.transactions.idempotency.core.claims import Interrupted
from moreton.transactions.idempotency.core.keys import is_final
from moreton.transactions.idempotency.keeping import DatabaseKeeper, Keeper, MemoryKeeper
from moreton.transactions.idempotency.policy import KeyPolicy, Request, by_authorization, keep_at
from moreton.transactions.idempotency.servers.call import idempotent_call

__all__ = [
    "DatabaseKeeper",
    "Interrupted",
    "Keeper",
    "KeyPolicy",
    "MemoryKeeper",
    "Request",
    "by_authorization",
    "idempotent_call",
    "is_final",
    "keep_at",
]
