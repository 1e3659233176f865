"""Which service a URL means, and the policy that its requests get when none is given."""

from __future__ import annotations

from datetime import timedelta

from moreton.resilience.core.backoff import Backoff
from moreton.resilience.layers.retry import Retry
from moreton.resilience.policy import Policy

# The domain of Moreton's DNS server, so that one URL works with discovery and with a resolver.
DOMAIN = "moreton"
_DNS_LABEL = ".service"
_ATTEMPTS = 4
# The next attempt goes elsewhere: only a service that fails as a whole needs more time.
_PAUSE_FIRST = timedelta(milliseconds=10)
_PAUSE_CAP = timedelta(seconds=1)


def service_of(host: str | None) -> str | None:
    """The service that *host* names, as `orders.moreton` does; `None` for every other host.

    `orders.service.moreton`, as DNS has it, is the same.
    """
    name = (host or "").lower().removesuffix(".")
    if not name.endswith(f".{DOMAIN}"):
        return None
    service = name.removesuffix(f".{DOMAIN}").removesuffix(_DNS_LABEL)
    # Tags and zones in front are for resolvers.
    return service if service and "." not in service else None


def careful(destination: str) -> Policy:
    """A policy for *destination*: some attempts, each at another instance, within a budget."""
    backoff = Backoff(initial=_PAUSE_FIRST, cap=_PAUSE_CAP)
    return Policy(Retry(attempts=_ATTEMPTS, backoff=backoff, name=destination), name=destination)
