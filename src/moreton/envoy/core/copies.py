"""Words between a gateway, its collector and the applications that see copies of requests."""

from __future__ import annotations

# On every copy, and nobody copies what has it: whom it was sent to, `candidate` or `primary`.
COPY_HEADER = "x-moreton-copy"
# On a request that may be copied: the application says in its answer's what it changed.
EFFECTS_HEADER = "x-moreton-effects"
ASK = "ask"
# Of the stream that shows a request: by which route it went.
ROUTE_METADATA = "x-moreton-route"
