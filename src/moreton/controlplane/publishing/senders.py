"""Which proxies may still send requests to an address, told from what they acknowledged.

Every publication of a service's endpoints has a number. An address that stops being sent to does so
with one publication; a proxy that acknowledged that one, or a later one, sends nothing there. The
same endpoints have the same version whenever they are published: the last number counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

# A proxy so many publications behind is taken for one that may send to anything.
_VERSIONS_MAX = 1024
_GONE_MAX = 4096


@dataclass(slots=True)
class _Service:
    floor: int  # addresses of which nothing else is known went with this publication
    numbers: dict[str, int] = field(default_factory=dict)  # version -> its last publication
    sent_to: frozenset[str] = frozenset()
    gone: dict[str, int] = field(default_factory=dict)  # address -> the publication it went with


class Senders:
    """What was published of each service's endpoints, for as long as a proxy may have it."""

    def __init__(self) -> None:
        self._services: dict[str, _Service] = {}
        self._last = 0

    def published(self, service: str, versions: Iterable[str], sent_to: Iterable[str]) -> None:
        """The endpoints of *service* were published, as *versions*: requests go to *sent_to*."""
        self._last += 1
        found = self._services.setdefault(service, _Service(floor=self._last))
        now = frozenset(sent_to)
        for address in found.sent_to - now:
            found.gone.pop(address, None)  # to be the newest
            found.gone[address] = self._last
        for address in now - found.sent_to:
            found.gone.pop(address, None)
        found.sent_to = now
        for version in versions:
            found.numbers.pop(version, None)
            found.numbers[version] = self._last
        _bound(found)

    def removed(self, service: str) -> None:
        """Nothing is sent to *service* any more."""
        self._services.pop(service, None)

    def may_send(self, service: str, version: str, address: str) -> bool:
        """Whether a proxy that has *version* in force may send requests to *address*."""
        found = self._services.get(service)
        if found is None:
            return False
        if address in found.sent_to:
            return True
        return found.numbers.get(version, 0) < found.gone.get(address, found.floor)


def place(host: str, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets, as an instance has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(service: _Service) -> None:
    for version in list(islice(service.numbers, max(0, len(service.numbers) - _VERSIONS_MAX))):
        del service.numbers[version]
    for address in list(islice(service.gone, max(0, len(service.gone) - _GONE_MAX))):
        service.floor = service.gone.pop(address)
