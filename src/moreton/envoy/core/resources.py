"""xDS resources as values: what a snapshot holds and what the ordering machine moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class TypeUrl(StrEnum):
    """The xDS resource types that Moreton serves."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type name
    RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


class ResourceKey(NamedTuple):
    """Which resource: its type and its name."""

    type_url: TypeUrl
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource, serialised once.

    *body* is the deterministic serialisation of the message itself (not of its `Any`);
    *version* is a hash of it, the same in every replica and after every restart. *needs* names
    what a proxy must have acknowledged before it is sent this one, and may lose only after it
    has stopped using this one: a route table needs its clusters. With *seconds* a proxy forgets it
    so long after it was sent last. *after* names endpoints: while a proxy has none under them, and
    is to get some, it is not sent this one, which would have it send requests there.
    """

    key: ResourceKey
    version: str
    body: bytes
    needs: frozenset[ResourceKey] = frozenset()
    seconds: float | None = None
    after: frozenset[ResourceKey] = frozenset()
    is_empty: bool = False  # of endpoints: there are none


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one group of proxies should have; never changed once made."""

    resources: Mapping[ResourceKey, Resource] = field(default_factory=dict)
    # Which snapshot this is, of which one it came, and what may differ from that.
    _self: object = field(default_factory=object, compare=False, repr=False)
    _base: object = field(default=None, compare=False, repr=False)
    _touched: frozenset[ResourceKey] = field(default=frozenset(), compare=False, repr=False)

    def changed(
        self, put: Iterable[Resource] = (), removed: Iterable[ResourceKey] = ()
    ) -> Snapshot:
        """A snapshot with *put* added or replaced and *removed* gone. O(size of the snapshot)."""
        resources = dict(self.resources)
        touched = set(removed)
        for key in touched:
            resources.pop(key, None)
        for resource in put:
            resources[resource.key] = resource
            touched.add(resource.key)
        return Snapshot(resources, _base=self._self, _touched=frozenset(touched))

    def differences(self, before: Snapshot) -> list[ResourceKey]:
        """The keys that *before* has not, has no more, or has in another version.

        O(what changed) when this one came of *before* by one `changed`, else O(size).
        """
        old, new = before.resources, self.resources
        if self._base is before._self:
            return [key for key in self._touched if _version(old, key) != _version(new, key)]
        found = [
            key
            for key, resource in new.items()
            if (known := old.get(key)) is not resource
            and (known is None or known.version != resource.version)
        ]
        found += [key for key in old if key not in new]
        return found


def _version(resources: Mapping[ResourceKey, Resource], key: ResourceKey) -> str | None:
    found = resources.get(key)
    return None if found is None else found.version
