"""Why a request has nowhere to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from moreton.kernel.errors import RetryAdvice
from moreton.registry.core.errors import RegistryError
from moreton.registry.core.instance import Instance


class DiscoveryClosed(RegistryError):
    """The discovery client was closed by this program."""

    code = "discovery-closed"

    def __init__(self, *, service: str) -> None:
        self.service = service
        super().__init__(
            f'discovery was closed: no instance of "{service}" is chosen any more; '
            "make requests before closing it"
        )


# The two are errors of connecting, too: that is what their requests come to. As nobody was
# connected to, such a request may always be tried again.
class NoInstance(RegistryError, ConnectionRefusedError):
    """The registry knows of no instance of the service that serves."""

    code = "discovery-no-instance"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, instances: Iterable[Instance]) -> None:
        self.service = service
        states = Counter(each.state.value for each in instances if each.weight > 0)
        unweighted = sum(each.weight == 0 for each in instances)
        parts = [f"{count} {state}" for state, count in sorted(states.items())]
        parts += [f"{unweighted} with weight 0"] if unweighted else []
        known = ", ".join(parts) or "none is registered"
        super().__init__(
            f'no instance of "{service}" serves ({known}): the request was not sent; start one, '
            "or correct the name"
        )


class ServiceUnknown(RegistryError, ConnectionRefusedError):
    """No control plane has said yet where the service is."""

    code = "discovery-silent"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, reason: str) -> None:
        self.service = service
        self.reason = reason
        super().__init__(
            f'nobody has said yet where "{service}" is ({reason or "no answer so far"}): the '
            "request was not sent; see that a control plane runs and can be reached, or give "
            "discovery a folder for its copy"
        )
