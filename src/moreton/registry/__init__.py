"""Who is where, for as long as it says so: the service registry.

Use it when instances come and go by themselves: several copies, changing ports, deploys under
load. Not when two fixed addresses are all there is: `addresses:` in `moreton.yaml` says that.

Guarantees: an instance that stops renewing is gone after its ttl, one that leaves is gone at
once; an id belongs to one address at a time; a renewal writes nothing to disk; changes arrive in
order and none is missed. A program never stops or waits because the registry is away.

    import moreton.registry

    registration = moreton.registry.register("catalogue", port=8001)

renews by itself, registers again after an outage, and leaves at exit and on SIGTERM; it works
from threads and from asyncio (`async with moreton.registry.aregister("catalogue", port=8001):`).

`moreton.registry.discovery` finds, follows and balances what is registered.
"""

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand
from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
    InstanceView,
    serving,
)
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceState
from moreton.registry.host import InstanceList, Registry

if TYPE_CHECKING:
    from moreton.registry.client import Registration, aregister, register
else:  # for services: the control plane does not register itself
    __getattr__ = on_demand(__name__, {"client": ["Registration", "aregister", "register"]})

__all__ = [
    "Instance",
    "InstanceChange",
    "InstanceId",
    "InstanceList",
    "InstanceRegistered",
    "InstanceRemoved",
    "InstanceState",
    "InstanceUpdated",
    "InstanceView",
    "InstancesListed",
    "Registration",
    "Registry",
    "aregister",
    "register",
    "serving",
]
