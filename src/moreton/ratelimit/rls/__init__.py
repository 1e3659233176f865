"""A rate limit service that Envoys ask: for limits that hold exactly over all of them.

Use it for limits that must not be passed by one request (quotas that are billed, calls to others
that count strictly), and in place of envoyproxy/ratelimit, whose configurations it serves as they
are. Not for what only has to hold about: each request waits for an answer, and limits within Envoy
cost none.

Guarantees: a request that one descriptor refuses is counted by none of the others; processes and
machines that share a store count together; while the store is away each limit does what it says,
within the time budget; who is over costs the store no trip.

    imported = load(Path("config"))
    server = RateLimitServer(RateLimitService(imported.domains, LocalStore()))
    server.listen("127.0.0.1:8081")
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.ratelimit.rls.imports import load
    from moreton.ratelimit.rls.server import RateLimitServer
    from moreton.ratelimit.rls.service import Answering, RateLimitService
    from moreton.ratelimit.rls.stores import LocalStore
else:  # a control plane reads the rules of it, and needs neither its server nor gRPC for that
    __getattr__ = on_demand(
        __name__,
        {
            "imports": ["load"],
            "server": ["RateLimitServer"],
            "service": ["Answering", "RateLimitService"],
            "stores": ["LocalStore"],
        },
    )

__all__ = ["Answering", "LocalStore", "RateLimitServer", "RateLimitService", "load"]
