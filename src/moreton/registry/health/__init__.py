"""Whether who is registered can be used: health checks, and what to do when many fail at once.

Use them where a lease says too little: a program whose process lives and which answers nothing, or
one that has no lease, because it cannot say itself that it lives. Where instances register
themselves, a short ttl is often enough.

Guarantees: one node of the control plane looks, so that the number of nodes does not multiply the
looks; a result that does not change writes nothing; a step of the clock does not matter. When more
than a share of a service falls at once, it is rather the one who looks that is wrong: those that
fell are kept in use until there is evidence against them.

    from moreton.registry import register
    from moreton.registry.health import http_check

    register("catalogue", port=8001, checks=[http_check("/health", interval="1s")])
"""

from moreton.registry.core.checks import (
    Check,
    CommandProbe,
    GrpcProbe,
    HttpProbe,
    Target,
    TcpProbe,
    TtlProbe,
)
from moreton.registry.core.standing import CheckResult, CheckStatus, Health
from moreton.registry.health.making import grpc_check, http_check, tcp_check, ttl_check

__all__ = [
    "Check",
    "CheckResult",
    "CheckStatus",
    "CommandProbe",
    "GrpcProbe",
    "Health",
    "HttpProbe",
    "Target",
    "TcpProbe",
    "TtlProbe",
    "grpc_check",
    "http_check",
    "tcp_check",
    "ttl_check",
]
