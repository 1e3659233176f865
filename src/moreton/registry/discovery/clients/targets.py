"""Which service a URL means, and the policy that its requests get when none is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from moreton.registry.discovery.client import Directory
from moreton.resilience.core.backoff import Backoff
from moreton.resilience.layers.retry import Retry, RetryBudget
from moreton.resilience.policy import Policy

# The domain of Moreton's DNS server, so that one URL works with discovery and with a resolver.
DOMAIN = "moreton"
_DNS_LABEL = ".service"
# As much as a socket's buffer holds anyway.
SMALL_BYTES_MAX = 64 * 1024
_ATTEMPTS = 4
# One name in metrics for all hosts that are no services.
_OTHERS = "other hosts"
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


def is_small(headers: Mapping[str, str]) -> bool:
    """Whether the body of an answer is read within its attempt, so that all of it is tried again.

    An instance that dies breaks off what it was saying; who streams waits for no more than this.
    """
    length = headers.get("content-length", "")
    return (
        "content-encoding" not in headers
        and length.isascii()
        and length.isdigit()
        and len(length) <= len(str(SMALL_BYTES_MAX))
        and int(length) <= SMALL_BYTES_MAX
    )


def careful(discovery: Directory) -> Callable[[str], Policy]:
    """Makes the policy of a destination: some attempts, each at another instance.

    All clients of one *discovery* share the retry budget of a service.
    """

    def make(destination: str) -> Policy:
        service = service_of(urlsplit(destination).hostname)
        if service is None:
            return _policy(_OTHERS, RetryBudget())
        return _policy(service, discovery.budget(service))

    return make


def careful_of(discovery: Directory, service: str) -> Policy:
    """As `careful` makes it for *service*."""
    return careful(discovery)(f"http://{service}.{DOMAIN}")


def _policy(name: str, budget: RetryBudget) -> Policy:
    backoff = Backoff(initial=_PAUSE_FIRST, cap=_PAUSE_CAP)
    retry = Retry(attempts=_ATTEMPTS, backoff=backoff, budget=budget, name=name)
    return Policy(retry, name=name)
