"""The key of the present request, for a handler that asks the barrier of its own database."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from moreton.transactions.barrier import Act, Call
from moreton.transactions.idempotency.keeping import Slot

# Where a middleware puts the key: in the scope, the environ, or META.
PLACE = "moreton.idempotency"


def idempotent_call(request: Any, branch: str = "request") -> Call | None:
    """The call to ask the barrier with, so that the effect happens once whoever dies when.

    *request* is that of Starlette, FastAPI, Flask or Django, or a scope or environ. `None` for a
    request without a key.
    """
    named = (getattr(request, name, None) for name in ("scope", "environ", "META"))
    carriers = [one for one in (request, *named) if isinstance(one, Mapping)]
    if not carriers:
        raise TypeError(f"request is {request!r}: give the request, its scope or its environ")
    slot = next((one[PLACE] for one in carriers if PLACE in one), None)
    if not isinstance(slot, Slot):
        return None
    both = f"{len(slot.scope)} {slot.scope} {slot.key}"
    return Call(sha256(both.encode()).hexdigest(), branch, Act.DO)
