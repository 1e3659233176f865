"""What to wrap around a call to something that can fail: retries, breakers, limits, time.

Use it where one program calls another over a network, or anything that may be down, slow or full.
Not around pure computation, not around a call that another layer retries already (a proxy, a
client library), and not to hide a fault that is always there.

Guarantees: a call that may have taken effect is repeated only when you said that this is safe, or
its HTTP method does; retries never exceed their budget, their deadline or what a server asked for;
a wait is never longer than what is left of the deadline; whatever is refused says why and when to
try again::

    policy = Policy(
        TotalTimeout(timedelta(seconds=10)),
        Retry(attempts=4, idempotent=True),
        CircuitBreaker(),
        Bulkhead(20, queue=50),
        Timeout(timedelta(seconds=2)),
    )

    @policy
    def stock(article: str) -> int: ...

    print(policy.explain())
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.resilience.core.backoff import Backoff, Jitter
    from moreton.resilience.core.breaker import BreakerPolicy
    from moreton.resilience.layers.adaptive import AdaptiveLimit, ClientThrottle
    from moreton.resilience.layers.breaker import Breakers, CircuitBreaker
    from moreton.resilience.layers.bulkhead import Bulkhead
    from moreton.resilience.layers.fallback import Fallback
    from moreton.resilience.layers.hedge import Hedge
    from moreton.resilience.layers.retry import Retry, RetryBudget
    from moreton.resilience.layers.timeout import Timeout, TotalTimeout
    from moreton.resilience.policy import Policy
else:  # the control plane needs little of it
    __getattr__ = on_demand(
        __name__,
        {
            "core.backoff": ["Backoff", "Jitter"],
            "core.breaker": ["BreakerPolicy"],
            "layers.adaptive": ["AdaptiveLimit", "ClientThrottle"],
            "layers.breaker": ["Breakers", "CircuitBreaker"],
            "layers.bulkhead": ["Bulkhead"],
            "layers.fallback": ["Fallback"],
            "layers.hedge": ["Hedge"],
            "layers.retry": ["Retry", "RetryBudget"],
            "layers.timeout": ["Timeout", "TotalTimeout"],
            "policy": ["Policy"],
        },
    )

__all__ = [
    "AdaptiveLimit",
    "Backoff",
    "BreakerPolicy",
    "Breakers",
    "Bulkhead",
    "CircuitBreaker",
    "ClientThrottle",
    "Fallback",
    "Hedge",
    "Jitter",
    "Policy",
    "Retry",
    "RetryBudget",
    "Timeout",
    "TotalTimeout",
]
