"""How many requests an Envoy has under way at each of its hosts, by its own count."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from moreton.controlplane.publishing.senders import place
from moreton.envoy.admin import EnvoyDoesNotAnswer

# (cluster, address:port) -> requests under way
Counts: TypeAlias = Mapping[tuple[str, str], int]


class Admin(Protocol):
    """What is asked of an Envoy."""

    async def clusters(self, names: Collection[str] | None = None) -> Any:
        """`/clusters`: every endpoint of those of these *names* with its statistics."""
        ...


async def requests_under_way(admin: Admin, services: Collection[str]) -> Counts | None:
    """The gauge `rq_active` of every host of *services*; `None` while Envoy does not answer."""
    try:
        return dict(_counts(await admin.clusters(services)))
    except EnvoyDoesNotAnswer:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # whatever that was, it was no Envoy's answer


def _counts(document: Any) -> Iterator[tuple[tuple[str, str], int]]:
    for cluster in document.get("cluster_statuses", ()):
        for host in cluster.get("host_statuses", ()):
            found = host.get("address", {}).get("socket_address")
            if found is None:
                continue
            stats: list[dict[str, Any]] = host.get("stats", [])
            active = next((x for x in stats if x.get("name") == "rq_active"), {})
            address = place(found["address"], found["port_value"])
            yield (cluster["name"], address), int(active.get("value", 0))
