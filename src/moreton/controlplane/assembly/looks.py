"""What the API shows of the whole: health, status, proxies, explanations, metrics."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from starlette.types import ASGIApp

from moreton import __version__
from moreton.controlplane.api.app import STATUSES, create_app
from moreton.controlplane.api.metrics import Metrics
from moreton.controlplane.api.parts import ApiParts, Document, Health, Request
from moreton.controlplane.api.serving.plain import PlainDesk
from moreton.controlplane.assembly.explaining import explanation
from moreton.controlplane.assembly.nodes import Nodes
from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.cluster.alone import Alone, node_name
from moreton.controlplane.consul import consul_metrics
from moreton.controlplane.core.objects import Kind, ObjectKey, State
from moreton.controlplane.dns import dns_metrics
from moreton.controlplane.errors import ObjectNotValid
from moreton.controlplane.following import CUT_OFF
from moreton.controlplane.problems import error_response
from moreton.controlplane.talkers.api import talker_metrics
from moreton.envoy.admin import EnvoyDoesNotAnswer
from moreton.envoy.bootstrap import XDS_CLUSTER
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.gateway.compile.copies.filters import COPIES
from moreton.gateway.compile.http import COLLECTOR
from moreton.kernel.time import Instant, SystemClock

_ATTENTION_MAX = 200
# Envoy tells of all endpoints at once, which takes it a moment when there are many.
_EVIDENCE_KEPT = timedelta(seconds=1)
# Clusters, and HTTP interfaces, that are not the user's.
_OWN = frozenset({XDS_CLUSTER, COLLECTOR, COPIES, "admin"})


def application(
    plane: Plane, envoy: EnvoySupervisor, token: str, *, nodes: Nodes | Alone | None = None
) -> ASGIApp:
    """The API of *plane*, which is one of *nodes*."""
    looks = Looks(plane, envoy, nodes or Alone(node_name(None)))
    parts = ApiParts(
        control=plane.control,
        views=plane.views,
        registry=plane.registry,
        known_instances=plane.discovery.view,
        drains=plane.drains,
        instructions=plane.instructions,
        rollouts=plane.rollouts,
        migrations=plane.migrations,
        comparisons=plane.comparisons,
        history=plane.history,
        is_cut_off=lambda: CUT_OFF in plane.troubles.now(),
        may_run_commands=lambda: plane.settings.controlplane.command_checks,
        ejected=looks.ejected,
        events=plane.events,
        notices=plane.notices,
        health=looks.health,
        status=looks.status,
        proxies=looks.proxies,
        metrics=looks.metrics,
        explain=looks.explain,
        talkers=plane.talkers,
        settings=lambda: plane.settings,
        routes=plane.desired.routes,
        limit_orders=plane.limit_orders,
    )
    return create_app(parts, token=token)


def desk(plane: Plane, token: str) -> PlainDesk:
    """The part of the API that is asked most."""

    async def weigh(route: str, weights: dict[str, int]) -> Document:
        await plane.control.put_weights(route, weights)
        return plane.views.weights(route)

    return PlainDesk(
        token=token,
        renew=plane.registry.renew,
        weigh=weigh,
        refuse=lambda error: error_response(error, STATUSES),
    )


class Looks:
    """Documents about the whole."""

    def __init__(self, plane: Plane, envoy: EnvoySupervisor, nodes: Nodes | Alone) -> None:
        self._plane = plane
        self._envoy = envoy
        self._nodes = nodes
        self._was_ready = False
        self._clock = SystemClock()
        self._ejected: frozenset[str] = frozenset()
        self._ejected_at: Instant | None = None
        self._metrics = Metrics(own=self._own_metrics, envoy=self._stats, own_clusters=_OWN)

    def health(self) -> Health:
        """Ready from when everything was applied first, for as long as a proxy is connected."""
        proxies = self._plane.publisher.proxies()
        self._was_ready = self._was_ready or self._plane.publisher.settled
        reasons = []
        if not proxies:
            reasons.append("no proxy is connected")
        elif not self._was_ready:
            reasons.append("the proxies have not applied everything yet")
        return Health(not reasons, reasons + list(self._plane.troubles.now().values()))

    def status(self) -> Document:
        """Everything at a glance; `attention` lists the objects that are not applied."""
        plane = self._plane
        counts: dict[str, Counter[str]] = {str(kind): Counter() for kind in Kind}
        attention: list[Document] = []
        for key, status in self._statuses():
            counts[str(key.kind)][str(status.state)] += 1
            if status.state is not State.APPLIED and len(attention) < _ATTENTION_MAX:
                attention.append(plane.views.status_of(key))
        store = plane.store.statistics()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": str(plane.settings.path),
            "node": self._nodes.document(),
            "faults": list(plane.faults),
            "troubles": plane.troubles.now(),
            "envoy": self._envoy_document(),
            "programs": []
            if plane.programs is None
            else list(map(asdict, plane.programs.statistics())),
            "store": {"revision": store.revision, "keys": store.keys, "bytes": store.file_bytes},
            "gateways": plane.views.gateways(),
            "proxies": self.proxies(),
            "objects": {kind: dict(states) for kind, states in counts.items()},
            "protected": {
                service: {"kept": count, "instances": len(plane.discovery.view.of(service))}
                for service, count in plane.discovery.view.kept().items()
            },
            "attention": attention,
            "unreadable": {str(key): why for key, why in plane.follower.unreadable.items()},
        }

    def proxies(self) -> list[Document]:
        """The connected proxies."""
        return [
            {"node": each.node, "group": each.group, "acks": each.acks, "nacks": each.nacks}
            for each in self._plane.xds.proxies()
        ]

    def explain(self, request: Request) -> Document:
        """Which route takes *request*."""
        try:
            return explanation(
                self._plane.desired.routes(),
                self._plane.settings,
                request.method,
                request.url,
                request.headers,
            )
        except ValueError as error:
            raise ObjectNotValid(str(error)) from error

    async def ejected(self) -> frozenset[str]:
        """The endpoints that this node's proxy lets rest for their failures, if it can be asked."""
        now = self._clock.now()
        if self._ejected_at is None or now - self._ejected_at > _EVIDENCE_KEPT:
            self._ejected_at = now
            try:
                self._ejected = await self._envoy.admin.ejected()
            except EnvoyDoesNotAnswer:
                self._ejected = frozenset()
        return self._ejected

    async def metrics(self) -> bytes:
        """The page `/metrics`."""
        return await self._metrics.page()

    def _statuses(self) -> Iterator[tuple[ObjectKey, Any]]:
        for kind in Kind:
            for key in self._plane.desired.keys(kind):
                yield key, self._plane.publisher.status(key)

    def _envoy_document(self) -> Document:
        found = self._envoy.statistics()
        return {
            "pid": found.pid,
            "version": found.version,
            "adopted": found.adopted,
            "ready": found.ready,
            "restarts": found.restarts,
            "last_exit": found.last_exit,
        }

    async def _stats(self, pattern: str) -> Mapping[str, int]:
        try:
            return await self._envoy.admin.stats(pattern)
        except EnvoyDoesNotAnswer:
            return {}

    def _own_metrics(self) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
        plane = self._plane
        states: Counter[tuple[str, str]] = Counter()
        for key, status in self._statuses():
            states[str(key.kind), str(status.state)] += 1
        for (kind, state), count in sorted(states.items()):
            labels = {"kind": kind, "state": state}
            yield "moreton_objects", "Objects by how far they have come", labels, count
        proxies = plane.publisher.proxies()
        yield "moreton_proxies", "Connected proxies", {}, len(proxies)
        acks = sum(each.acks for each in proxies)
        nacks = sum(each.nacks for each in proxies)
        yield "moreton_xds_acknowledged", "Responses that connected proxies took", {}, acks
        yield "moreton_xds_refused", "Responses that connected proxies refused", {}, nacks
        yield "moreton_publisher_passes", "Passes of the publisher", {}, plane.publisher.passes
        store = plane.store.statistics()
        yield "moreton_store_revision", "The store's revision", {}, store.revision
        yield "moreton_store_keys", "Keys in the store", {}, store.keys
        yield "moreton_store_bytes", "Size of the store's files", {}, store.file_bytes
        leads = int(self._nodes.is_leader())
        yield "moreton_controlplane_leader", "Whether this node leads", {}, leads
        yield "moreton_controlplane_nodes", "Nodes that live", {}, self._nodes.count()
        notices = plane.notices.statistics()
        watchers = len(plane.events) + notices.readers
        yield "moreton_watchers", "Readers of /v1/watch", {}, watchers
        yield "moreton_notices", "Changes handed to watchers of instances", {}, notices.notices
        yield "moreton_notice_restarts", "Watchers told to start over", {}, notices.restarts
        kept = plane.discovery.view.kept()
        yield "moreton_services_protected", "Services of which too many fell at once", {}, len(kept)
        many = sum(kept.values())
        yield "moreton_instances_kept", "Instances kept in use though they fell", {}, many
        yield "moreton_troubles", "Troubles now", {}, len(plane.troubles.now())
        yield from dns_metrics(plane.dns)
        yield from consul_metrics(plane.consul)
        yield from talker_metrics(plane.talkers)
        restarts = self._envoy.statistics().restarts
        yield "moreton_envoy_restarts", "How often Envoy was started again", {}, restarts
