"""The same work in the words of each system: register, renew, change, watch, over plain HTTP."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# Long enough for what waits for its turn; what a renewal costs does not depend on it.
TTL_SECONDS = 600
_UPDATED = rb'event: updated\nid: \d+\ndata: .*?"service": "s(\d+)".*?"version": "c(\d+)"'
_METADATA = {"build": "2026.11", "team": "platform"}


@dataclass(frozen=True, slots=True)
class Notice:
    """A change that a watcher was told of: which one, and of which service."""

    change: int
    service: int


class System(Protocol):
    """What is said to a system. Instance *n* is of service *n* modulo the number of services."""

    def registration(self, number: int) -> Sequence[bytes]:
        """The requests that register instance *number*."""
        ...

    def renewal(self, number: int) -> bytes:
        """The request that renews it."""
        ...

    def change(self, number: int, change: int) -> bytes:
        """The request that changes it, for all to see."""
        ...

    def watch(self, service: int) -> bytes:
        """The request that watches a service."""
        ...

    def notices(self, data: bytes) -> list[Notice]:
        """What the whole lines of a watch say."""
        ...


def address(number: int) -> str:
    """Each instance has its own."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def name(service: int) -> str:
    """The name of a service in both servers."""
    return f"s{service}.service.moreton"


def _request(method: str, path: str, body: object = None, token: str = "") -> bytes:
    text = "" if body is None else json.dumps(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: identity"]
    lines += [f"Content-Length: {len(text)}", "accept: application/json", "user-agent: moreton"]
    lines += [f"authorization: Bearer {token}"] if token else []
    lines += ["content-type: application/json"] if text else []
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


@dataclass(frozen=True, slots=True)
class Moreton:
    """Byte for byte what `moreton.registry.register` sends, but for the version."""

    token: str
    services: int

    def _document(self, number: int, version: str) -> dict[str, object]:
        return {
            "id": f"i{number}",
            "address": address(number),
            "port": 8000,
            "zone": f"zone-{number % 3}",
            "weight": 1,
            "version": version,
            "tags": ["http", "v1"],
            "metadata": _METADATA,
            "state": "serving",
            "ttl": f"{TTL_SECONDS}s",
        }

    def _path(self, number: int) -> str:
        return f"/v1/services/s{number % self.services}/instances"

    def registration(self, number: int) -> Sequence[bytes]:
        document = self._document(number, "1.0")
        return [_request("POST", self._path(number), document, self.token)]

    def renewal(self, number: int) -> bytes:
        return _request("PUT", f"{self._path(number)}/i{number}/lease", token=self.token)

    def renewals(self, numbers: Sequence[int]) -> bytes:
        """The request that renews them all."""
        names = [f"s{number % self.services}/i{number}" for number in numbers]
        return _request("POST", "/v1/leases/renew", {"instances": names}, self.token)

    def change(self, number: int, change: int) -> bytes:
        document = self._document(number, f"c{change}")
        return _request("POST", self._path(number), document, self.token)

    def watch(self, service: int) -> bytes:
        return _request("GET", f"/v1/watch?prefix=instances/s{service}", token=self.token)

    def notices(self, data: bytes) -> list[Notice]:
        found = re.findall(_UPDATED, data)
        return [Notice(int(change), int(service)) for service, change in found]


@dataclass(frozen=True, slots=True)
class Etcd:
    """A lease for each instance, and a key that hangs on it, as etcd's own naming package does."""

    services: int

    def _key(self, number: int) -> str:
        return _b64(f"/instances/s{number % self.services}/i{number}")

    def _put(self, number: int, version: str) -> bytes:
        value = json.dumps(
            {
                "address": f"{address(number)}:8000",
                "zone": f"zone-{number % 3}",
                "service": f"s{number % self.services}",
                "version": version,
                "tags": ["http", "v1"],
                "metadata": _METADATA,
            }
        )
        body = {"key": self._key(number), "value": _b64(value), "lease": str(number + 1)}
        return _request("POST", "/v3/kv/put", body)

    def registration(self, number: int) -> Sequence[bytes]:
        lease = {"TTL": str(TTL_SECONDS), "ID": str(number + 1)}
        return [_request("POST", "/v3/lease/grant", lease), self._put(number, "1.0")]

    def renewal(self, number: int) -> bytes:
        return _request("POST", "/v3/lease/keepalive", {"ID": str(number + 1)})

    def change(self, number: int, change: int) -> bytes:
        return self._put(number, f"c{change}")

    def watch(self, service: int) -> bytes:
        start = f"/instances/s{service}/"
        asked = {"key": _b64(start), "range_end": _b64(f"{start[:-1]}0")}
        return _request("POST", "/v3/watch", {"create_request": asked})

    def notices(self, data: bytes) -> list[Notice]:
        values = [base64.b64decode(each) for each in re.findall(rb'"value":"([^"]+)"', data)]
        found = [re.search(rb'"service": "s(\d+)", "version": "c(\d+)"', value) for value in values]
        return [Notice(int(each[2]), int(each[1])) for each in found if each is not None]


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
