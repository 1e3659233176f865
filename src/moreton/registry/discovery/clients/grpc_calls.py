"""What the gRPC channels of threads and of asyncio share: where calls go, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Self

import grpc

from moreton.kernel.arguments import check_kind
from moreton.registry.core.instance import Instance
from moreton.registry.discovery.choices import Choice
from moreton.registry.discovery.clients.targets import DOMAIN, service_of
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.foreign import as_foreign

SCHEME = "moreton"
# A call that reached nobody goes to so many others in turn; that costs a refused connection each.
ELSEWHERE_MAX = 3
# As gRPC's core words it: no connection came about, so nothing was sent.
_UNCONNECTED = "ailed to connect"
_Option = tuple[str, Any]


def service_of_target(target: str) -> str:
    """The service that *target* names: `moreton:///orders`, `orders` or `orders.moreton`.

    Raises `ValueError` for the target of another resolver.
    """
    check_kind("target", target, str, 'a target, as "moreton:///orders"')
    name = target.removeprefix(f"{SCHEME}:").lstrip("/")
    if not name or ":" in name or "/" in name:
        raise ValueError(
            f'target {target!r} names no service, so calls could not be sent; give "moreton:///" '
            "and the service's name"
        )
    return service_of(name) or name


def status_outcome(status: Any, details: str | None) -> Outcome:
    """What a call that ended with *status* tells of its instance."""
    if status is grpc.StatusCode.UNAVAILABLE:
        return Outcome.REFUSED if _UNCONNECTED in (details or "") else Outcome.FAILED
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome.FAILED
    if status is grpc.StatusCode.CANCELLED:
        return Outcome.ABANDONED
    return Outcome.ANSWERED


class Pool:
    """A channel of gRPC for each instance, kept while the instance is known or in use."""

    def __init__(
        self,
        service: str,
        options: Iterable[_Option],
        make: Callable[[str, list[_Option]], Any],
        close: Callable[[Any], None],
    ) -> None:
        self._make = make
        self._close = close
        host = f"{service}.{DOMAIN}"
        own = [("grpc.default_authority", host), ("grpc.ssl_target_name_override", host)]
        given = list(options)
        named = {name for name, _ in given}
        self._options = [*given, *(each for each in own if each[0] not in named)]
        self._channels: dict[str, Any] = {}
        self._users: dict[str, int] = {}
        self._lock = Lock()

    def take(self, instance: Instance, known: Iterable[Instance]) -> Any:
        """The channel to *instance*, in use until `give_back`; *known* are all there are."""
        endpoint = instance.endpoint
        with self._lock:
            self._users[endpoint] = self._users.get(endpoint, 0) + 1
            found = self._channels.get(endpoint)
            if found is None:
                self._forget_all_but({each.endpoint for each in known})
                family = "ipv6" if ":" in instance.address else "ipv4"
                found = self._make(f"{family}:{endpoint}", self._options)
                self._channels[endpoint] = found
            return found

    def give_back(self, instance: Instance) -> None:
        """A call to *instance* ended."""
        with self._lock:
            self._users[instance.endpoint] -= 1

    def close(self) -> list[Any]:
        """Forget all; the channels, to be closed."""
        with self._lock:
            channels = list(self._channels.values())
            self._channels.clear()
            return channels

    def _forget_all_but(self, endpoints: set[str]) -> None:
        for endpoint in self._channels.keys() - endpoints:
            if not self._users.get(endpoint):
                self._close(self._channels.pop(endpoint))
                self._users.pop(endpoint, None)


class Route:
    """One call at one instance, from its choice to its end."""

    def __init__(self, choice: Choice, pool: Pool, known: Iterable[Instance]) -> None:
        self._choice = choice
        self._pool = pool
        self.channel = pool.take(choice.instance, known)

    def ended(self, outcome: Outcome) -> None:
        """The call ended; to be said once."""
        self._choice.ended(outcome)
        self._pool.give_back(self._choice.instance)


class _Status(str):
    """Our code of an error, and gRPC's when it is called: both are asked for as `code`."""

    __slots__ = ()

    def __call__(self) -> Any:
        return grpc.StatusCode.UNAVAILABLE


class Nowhere(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """A call that had nowhere to go, as who catches gRPC's errors, or holds the call, asks it."""

    def details(self) -> str:
        """Why."""
        return str(self)

    debug_error_string = details

    def initial_metadata(self) -> tuple[()]:
        """None came."""
        return ()

    trailing_metadata = initial_metadata

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - gRPC's
        """Raise this."""
        raise self

    def exception(self, timeout: float | None = None) -> Self:  # noqa: ARG002 - as above
        """This."""
        return self

    def done(self) -> bool:
        """It never began."""
        return True


class AioNowhere(Nowhere, grpc.aio.AioRpcError):  # type: ignore[misc]  # as above
    """As `Nowhere`, of `grpc.aio`."""

    __str__ = Exception.__str__
    __repr__ = Exception.__repr__


def nowhere(error: NoInstance | ServiceUnknown, kind: type[Nowhere] = Nowhere) -> Exception:
    """*error* as an error of gRPC, too."""
    return as_foreign(error, kind, code=_Status(error.code))
