"""The registry by Consul's HTTP API: for the clients, libraries and tools that speak it.

Use it so that what was written for Consul goes on working; not for new programs: the registry's
own client is pushed to, and needs no polling. It is no Consul: one node stands for all of Moreton's
control planes, and there is no gossip, no mesh and no other data centre.

Guarantees: what was written is read, by this node at once; an index grows with its own service or
keys alone, so that nobody is woken by others; a lock's key has a `ModifyIndex` that only grows, to
be used as a fencing token.

    api = ConsulApi(store, registry, settings, cluster=cluster, clock=SystemClock(), rng=rng)
    uvicorn.run(api.app)
"""

from moreton.registry.consul.agent import Cluster
from moreton.registry.consul.api import ConsulApi, ConsulSettings
from moreton.registry.consul.core.shapes import NodeNames
from moreton.registry.consul.following.topics import WaitingStatistics
from moreton.registry.consul.web.access import Anonymous

__all__ = [
    "Anonymous",
    "Cluster",
    "ConsulApi",
    "ConsulSettings",
    "NodeNames",
    "WaitingStatistics",
]
