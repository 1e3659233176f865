"""DNS names as targets: asked for again when their answer is too old."""

from __future__ import annotations

import asyncio
import importlib
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from moreton.controlplane.sources.targets import Target
from moreton.gateway.config import NamesModel
from moreton.gateway.core.model import Address

_SECONDS_MAX = 5.0
_TTL_MIN = timedelta(seconds=1)


class NameNotResolved(Exception):
    """A name server did not say where a name is; *why*, for people."""


class Names:
    """Asks the name servers of *model*, or of this machine."""

    def __init__(self, model: NamesModel) -> None:
        self._model = model
        module = importlib.import_module("dns.asyncresolver")
        self._errors: Any = importlib.import_module("dns.exception").DNSException
        self._none: Any = importlib.import_module("dns.resolver").NoAnswer
        self._resolver: Any = module.Resolver(configure=model.server is None)
        self._resolver.lifetime = _SECONDS_MAX
        if model.server is not None:
            self._resolver.nameservers = [model.server.host]
            self._resolver.port = model.server.port

    async def resolve(self) -> tuple[list[Target], timedelta]:
        """The targets, and how long they are good for. Raises `NameNotResolved`."""
        try:
            if self._model.type == "SRV":
                return await self._services()
            assert self._model.port is not None, "the model asks for it"
            hosts, ttl = await self._addresses(self._model.name)
        except self._errors as error:
            raise NameNotResolved(f"{self._model.name}: {str(error).rstrip('.')}") from error
        return [Target(Address(host, self._model.port)) for host in hosts], ttl

    async def _services(self) -> tuple[list[Target], timedelta]:
        answer = await self._resolver.resolve(self._model.name, "SRV")
        ttl = self._bounded(answer.rrset.ttl)
        best = min(record.priority for record in answer)
        targets = []
        for record in answer:
            if record.priority != best:
                continue  # for when the others are gone, and then the answer is another
            hosts, host_ttl = await self._addresses(record.target.to_text())
            ttl = min(ttl, host_ttl)
            weight = max(record.weight, 1)
            targets += [Target(Address(host, record.port), weight=weight) for host in hosts]
        return targets, ttl

    async def _addresses(self, name: str) -> tuple[list[str], timedelta]:
        hosts: list[str] = []
        ttl = self._model.interval
        refused: Exception | None = None
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(name, kind)
            except self._none as error:
                refused = error
                continue
            hosts += [record.address for record in answer]
            ttl = min(ttl, self._bounded(answer.rrset.ttl))
        if not hosts and refused is not None:
            raise refused
        return hosts, ttl

    def _bounded(self, seconds: int) -> timedelta:
        return min(max(timedelta(seconds=seconds), _TTL_MIN), self._model.interval)


async def resolved(targets: list[Target]) -> list[Target]:
    """*targets* with the names of hosts asked of this machine's resolver.

    Raises `NameNotResolved`.
    """
    loop = asyncio.get_running_loop()
    out = []
    for target in targets:
        host, port = target.address.host, target.address.port
        if _is_address(host):
            out.append(target)
            continue
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NameNotResolved(f"{host}: {error.strerror or error}".lower()) from error
        hosts = dict.fromkeys(str(each[4][0]) for each in found)
        out += [
            Target(Address(each, port), target.labels, target.weight)
            for each in hosts
            if _is_address(each)
        ]
    return out


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
