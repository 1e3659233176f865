"""Where to send a request: the instances of other services, found, followed and balanced.

Use it in a program that calls services directly: no proxy in between, one hop less. Not where the
traffic has to pass the gateway (routes, weights, comparison), nor in programs that cannot be
changed: those have Envoy, DNS or the Consul API.

Guarantees: changes are pushed, within milliseconds; while no control plane answers, requests go to
what was known last, for as long as that takes; a request that meets a closed port leaves that
instance alone at once; none is overloaded because it is near; what one service does wakes nobody
who follows another.

    from moreton.registry.discovery import Discovery
    from moreton.registry.discovery.clients.httpx import DiscoveryTransport

    with Discovery() as discovery, httpx.Client(transport=DiscoveryTransport(discovery)) as client:
        client.get("http://orders.moreton/orders/7")

or by hand: `with discovery.choose("orders") as chosen: connect(chosen.instance.endpoint)`.
"""

from moreton.registry.discovery.choices import Choice
from moreton.registry.discovery.client import AsyncDiscovery, Discovery
from moreton.registry.discovery.core.balancing import BalancerStatistics, Balancing
from moreton.registry.discovery.core.known import Snapshot
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import DiscoveryClosed, NoInstance, ServiceUnknown

__all__ = [
    "AsyncDiscovery",
    "BalancerStatistics",
    "Balancing",
    "Choice",
    "Discovery",
    "DiscoveryClosed",
    "NoInstance",
    "Outcome",
    "ServiceUnknown",
    "Snapshot",
]
