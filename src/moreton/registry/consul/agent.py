"""`/v1/agent` that reads, and `/v1/status`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moreton.registry.consul.core.filters import parse_filter
from moreton.registry.consul.core.queries import Blocking, parse_wait
from moreton.registry.consul.core.refusals import not_found
from moreton.registry.consul.core.shapes import (
    Document,
    Row,
    agent_document,
    checks_of,
    node_check,
    worst,
)
from moreton.registry.consul.discovery import id_of
from moreton.registry.consul.following.catalog import Catalog
from moreton.registry.consul.following.topics import Topic
from moreton.registry.consul.messages import (
    Answer,
    Request,
    encode_json,
    json_answer,
    text_answer,
)
from moreton.registry.consul.web.reading import Reading

# Of Consul's health endpoints of the local agent: what a load balancer goes by.
_HEALTH_STATUSES = {"passing": 200, "warning": 429, "critical": 503, "maintenance": 503}
_SERF_PORT = 8301
_ALIVE = 1
_HASH_CHARS = 16


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who leads Moreton's control planes, and which there are: `host:port`, none when unknown."""

    leader: Callable[[], str]
    peers: Callable[[], Sequence[str]]


class Agent:
    """The agent's endpoints that only tell."""

    def __init__(
        self, catalog: Catalog, reading: Reading, cluster: Cluster, *, version: str
    ) -> None:
        self._catalog = catalog
        self._reading = reading
        self._cluster = cluster
        self._version = version

    async def self(self, _: Request) -> Answer:
        """What the agent is."""
        node = self._catalog.node
        return json_answer(
            {
                "Config": {
                    "Datacenter": node.datacenter,
                    "PrimaryDatacenter": node.datacenter,
                    "NodeName": node.name,
                    "NodeID": node.id,
                    "Revision": "",
                    "Server": True,
                    "Version": self._version,
                },
                "Coord": None,
                "DebugConfig": {},
                "Stats": {"agent": {}, "consul": {"server": "true"}},
                "Member": self._member(),
                "Meta": dict(node.meta),
            }
        )

    async def members(self, _: Request) -> Answer:
        """The one member that Moreton is."""
        return json_answer([self._member()])

    async def services(self, request: Request) -> Answer:
        """What Consul's clients registered, by its ids."""
        keep = parse_filter(request.parameters.first("filter"))
        rows = list(self._catalog.registered_here())
        documents = {
            id_of(row, self._catalog): agent_document(row, self._catalog.node) for row in rows
        }
        return json_answer({key: each for key, each in documents.items() if keep(each)})

    async def service(self, request: Request) -> Answer:
        """One instance; with `hash` once it is not as that says."""
        wanted = request.parameters.first("hash")
        found = self._one(request.rest)
        if wanted and _hash(found) == wanted:
            row = self._row(request.rest)
            topic = Topic("service", row.instance.service)
            wait = parse_wait(request.parameters.first("wait"))
            blocking = Blocking(self._catalog.index(topic), wait)
            await self._reading.wait(request, self._catalog, topic, blocking)
            found = self._one(request.rest)
        answer = json_answer({**found, "ContentHash": _hash(found)})
        headers = (*answer.headers, (b"x-consul-contenthash", _hash(found).encode()))
        return Answer(answer.body, answer.status, headers)

    async def checks(self, request: Request) -> Answer:
        """The checks of what Consul's clients registered, by their ids."""
        keep = parse_filter(request.parameters.first("filter"))
        found = {
            str(each["CheckID"]): each
            for each in self._catalog.checks(self._catalog.registered_here())
        }
        return json_answer({key: each for key, each in found.items() if keep(each)})

    async def health_by_id(self, request: Request) -> Answer:
        """How an instance is: 200 passing, 429 warning, 503 critical."""
        row = self._row(request.rest)
        status, document = self._health(row)
        if _wants_text(request):
            return text_answer(_HEALTH_STATUSES[status], status)
        return json_answer(document, status=_HEALTH_STATUSES[status])

    async def health_by_name(self, request: Request) -> Answer:
        """How the instances of a service are; the status is that of the worst."""
        rows = self._catalog.rows(request.rest)
        if not rows:
            if _wants_text(request):
                raise not_found(f"ServiceName {request.rest[:80]} not found")
            return json_answer([], status=404)
        found = [self._health(row) for row in rows]
        order = ("maintenance", "critical", "warning", "passing")
        status = min((each for each, _ in found), key=order.index)
        if _wants_text(request):
            return text_answer(_HEALTH_STATUSES[status], status)
        return json_answer([each for _, each in found], status=_HEALTH_STATUSES[status])

    async def leader(self, _: Request) -> Answer:
        """Who leads, as `host:port`; empty when that is not known."""
        return json_answer(self._cluster.leader())

    async def peers(self, _: Request) -> Answer:
        """Moreton's control planes."""
        return json_answer(list(self._cluster.peers()))

    def _member(self) -> Document:
        node = self._catalog.node
        return {
            "Name": node.name,
            "Addr": node.address,
            "Port": _SERF_PORT,
            "Tags": {"dc": node.datacenter, "id": node.id, "role": "consul"},
            "Status": _ALIVE,
            "ProtocolMin": 1,
            "ProtocolMax": 5,
            "ProtocolCur": 2,
            "DelegateMin": 2,
            "DelegateMax": 5,
            "DelegateCur": 4,
        }

    def _health(self, row: Row) -> tuple[str, Document]:
        checks = [node_check(self._catalog.node), *checks_of(row, self._catalog.node)]
        status = worst(checks)
        service = agent_document(row, self._catalog.node)
        return status, {"AggregatedStatus": status, "Service": service, "Checks": checks}

    def _one(self, instance_id: str) -> Document:
        return agent_document(self._row(instance_id), self._catalog.node)

    def _row(self, instance_id: str) -> Row:
        found = self._catalog.find(instance_id)
        if not found:
            raise not_found(f"unknown service ID: {instance_id[:128]}")
        return found[0]


def _hash(document: Document) -> str:
    return hashlib.sha256(encode_json(document)).hexdigest()[:_HASH_CHARS]


def _wants_text(request: Request) -> bool:
    return request.parameters.first("format") == "text" or (
        request.header(b"accept").startswith("text/plain")
    )
