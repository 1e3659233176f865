"""`/v1/catalog` and `/v1/health`: what is read by those who look for services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from moreton.registry.consul.core.filters import Filter, parse_filter
from moreton.registry.consul.core.queries import Parameters
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad
from moreton.registry.consul.core.shapes import (
    Row,
    catalog_document,
    has_meta,
    has_tags,
    health_document,
    node_check,
    node_document,
    service_document,
)
from moreton.registry.consul.following.catalog import CHECKS, SERVICES, Catalog
from moreton.registry.consul.following.shown import ShownCheck, json_list
from moreton.registry.consul.following.topics import Topic
from moreton.registry.consul.messages import Answer, Request, encode_json, json_answer
from moreton.registry.consul.web.reading import Look
from moreton.registry.core.documents import PREFIX, service_prefix
from moreton.store import prefix_end

_STATES = frozenset({"any", "passing", "warning", "critical"})


class Discovery:
    """The endpoints of catalog and health: what each request looks at."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def services(self, request: Request) -> Look:
        """Every service with its tags."""
        meta = request.parameters.all("node-meta")

        def tell() -> bytes:
            known = self._catalog.services() if has_meta(self._catalog.node, meta) else {}
            return encode_json({name: list(tags) for name, tags in known.items()})

        return self._look(request, SERVICES, tell)

    def catalog_service(self, request: Request) -> Look:
        """The instances of a service, flat."""
        keep = self._filter(request)

        def tell() -> bytes:
            rows = self._rows(request)
            if keep is not None:
                documents = (catalog_document(row, self._catalog.node) for row in rows)
                return encode_json([each for each in documents if keep(each)])
            return json_list(map(self._catalog.shown.catalog, rows))

        return self._look(request, _service(request), tell)

    def health_service(self, request: Request) -> Look:
        """The instances of a service, with node and checks; `passing` asks for the healthy."""
        keep = self._filter(request)
        wants_passing = request.parameters.flag("passing")

        def tell() -> bytes:
            shown = self._catalog.shown
            rows = self._rows(request)
            if wants_passing:
                rows = [row for row in rows if shown.is_passing(row)]
            if keep is not None:
                documents = (health_document(row, self._catalog.node) for row in rows)
                return encode_json([each for each in documents if keep(each)])
            return json_list(map(shown.health, rows))

        return self._look(request, _service(request), tell)

    def health_checks(self, request: Request) -> Look:
        """The checks of a service's instances."""
        topic = _service(request)
        return self._look_at_checks(request, topic, lambda: self._rows(request))

    def health_state(self, request: Request) -> Look:
        """Every check in a state."""
        state = request.rest
        if state not in _STATES:
            raise bad(f"Invalid check state: {state[:40]!r}")
        return self._look_at_checks(
            request, CHECKS, self._catalog.everything, state=state, with_node=True
        )

    def health_node(self, request: Request) -> Look:
        """Every check of a node."""
        name = _named(request, "Missing node name")
        is_known = name == self._catalog.node.name

        def rows() -> Iterable[Row]:
            return self._catalog.everything() if is_known else ()

        return self._look_at_checks(request, CHECKS, rows, with_node=is_known)

    def nodes(self, request: Request) -> Look:
        """The one node there is."""
        meta = request.parameters.all("node-meta")

        def tell() -> bytes:
            node = self._catalog.node
            return encode_json([node_document(node)] if has_meta(node, meta) else [])

        return self._look(request, Topic("nodes"), tell)

    def node(self, request: Request) -> Look:
        """A node with the instances on it, by their ids; null for one that is unknown."""
        name = _named(request, "Missing node name")

        def tell() -> bytes:
            if name != self._catalog.node.name:
                return b"null"
            services = {id_of(row, self._catalog): row for row in self._catalog.everything()}
            return encode_json(
                {
                    "Node": node_document(self._catalog.node),
                    "Services": {key: service_document(row) for key, row in services.items()},
                }
            )

        return self._look(request, CHECKS, tell)

    def node_services(self, request: Request) -> Look:
        """A node with the instances on it, as a list."""
        name = _named(request, "Missing node name")

        def tell() -> bytes:
            if name != self._catalog.node.name:
                return encode_json({"Node": None, "Services": []})
            rows = self._catalog.everything()
            node = node_document(self._catalog.node)
            return encode_json({"Node": node, "Services": [service_document(row) for row in rows]})

        return self._look(request, CHECKS, tell)

    async def datacenters(self, request: Request) -> Answer:
        """The one there is."""
        self._refuse_datacenter(request.parameters)
        return json_answer([self._catalog.node.datacenter])

    def _rows(self, request: Request) -> Sequence[Row]:
        """The instances of the service that a request names, as far as it wants them."""
        tags, meta = request.parameters.all("tag"), request.parameters.all("node-meta")
        if not has_meta(self._catalog.node, meta):
            return ()
        rows = self._catalog.rows(request.rest)
        return [row for row in rows if has_tags(row, tags)] if tags else rows

    def _filter(self, request: Request) -> Filter | None:
        text = request.parameters.first("filter")
        return parse_filter(text) if text.strip() else None

    def _look_at_checks(
        self,
        request: Request,
        topic: Topic,
        rows: Callable[[], Iterable[Row]],
        *,
        state: str = "any",
        with_node: bool = False,
    ) -> Look:
        keep = self._filter(request)
        meta = request.parameters.all("node-meta")

        def tell() -> bytes:
            node = self._catalog.node
            if not has_meta(node, meta):
                return b"[]"
            own = [node_check(node)] if with_node else []
            if keep is not None:
                every = [*own, *self._catalog.checks(rows())]
                found = [each for each in every if state in {"any", each["Status"]}]
                return encode_json([each for each in found if keep(each)])
            shown = [ShownCheck(encode_json(each), each["Status"]) for each in own]
            for row in rows():
                shown.extend(self._catalog.shown.checks(row))
            return json_list(each.body for each in shown if state in {"any", each.status})

        return self._look(request, topic, tell)

    def _look(self, request: Request, topic: Topic, tell: Callable[[], bytes]) -> Look:
        """What *tell* gives, remembered for those who ask for just the same."""
        parameters = request.parameters
        self._refuse_datacenter(parameters)
        asked = ("passing", "tag", "node-meta", "filter")
        variant = (
            request.path,
            *(f"{name}={value}" for name in asked for value in parameters.all(name)),
        )
        start = service_prefix(topic.name) if topic.kind == "service" else PREFIX
        return Look(
            self._catalog,
            topic,
            lambda: self._catalog.remembered(topic, variant, tell),
            (start, prefix_end(start)),
        )

    def _refuse_datacenter(self, parameters: Parameters) -> None:
        asked = parameters.first("dc")
        if asked and asked.lower() != self._catalog.node.datacenter.lower():
            raise ConsulRequestRefused(500, f"No path to datacenter: {asked[:80]}")


def id_of(row: Row, catalog: Catalog) -> str:
    """The id that is unique among the instances of all services."""
    others = catalog.find(row.instance.id)
    is_first = bool(others) and others[0] is row
    return row.instance.id if is_first else f"{row.instance.service}:{row.instance.id}"


def _service(request: Request) -> Topic:
    return Topic("service", _named(request, "Missing service name"))


def _named(request: Request, refusal: str) -> str:
    if not request.rest:
        raise bad(refusal)
    return request.rest
