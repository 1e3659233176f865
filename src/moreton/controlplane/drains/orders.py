"""Orders to drain, and to be in maintenance: given with care, taken back, told apart."""

from __future__ import annotations

from collections import Counter

from moreton.controlplane.core.drains import LEAVING_STATES
from moreton.controlplane.errors import LastInstance, LeavesByItself
from moreton.registry import Instance, Registry, serving
from moreton.registry.core.standing import InstanceState, Order
from moreton.registry.errors import InstanceNotRegistered


async def take_out(
    registry: Registry, service: str, instance_id: str, order: Order, *, force: bool
) -> None:
    """Order that nothing new is sent to an instance; a second order of the kind changes nothing.

    Raises `InstanceNotRegistered`, `LastInstance` unless *force*.
    """
    there = (await registry.instances(service)).instances
    found = _find(there, service, instance_id)
    if found.state is order.state and order.state is InstanceState.DRAINING:
        return
    careful = found.state is InstanceState.SERVING and not force
    if careful and not _others_serve(there, instance_id):
        raise LastInstance(service=service, instance_id=instance_id, others=_others(there, found))
    await registry.set_order(service, instance_id, order)
    if not careful:
        return
    there = (await registry.instances(service)).instances
    if not _others_serve(there, instance_id):  # another order was given at the same time
        await registry.clear_order(service, instance_id)
        raise LastInstance(service=service, instance_id=instance_id, others=_others(there, found))


def _others_serve(there: tuple[Instance, ...], instance_id: str) -> bool:
    return any(each.id != instance_id for each in serving(there))


async def take_back(
    registry: Registry, service: str, instance_id: str, state: InstanceState
) -> None:
    """Take the order to be in *state* back, if that is the order.

    Raises `InstanceNotRegistered`, `LeavesByItself`.
    """
    there = (await registry.instances(service)).instances
    found = _find(there, service, instance_id)
    if found.order is not None and found.order.state is state:
        await registry.clear_order(service, instance_id)
    elif found.order is None and found.state in LEAVING_STATES:
        raise LeavesByItself(service=service, instance_id=instance_id)


def _find(there: tuple[Instance, ...], service: str, instance_id: str) -> Instance:
    found = next((each for each in there if each.id == instance_id), None)
    if found is None:
        raise InstanceNotRegistered(service=service, instance_id=instance_id)
    return found


def _others(there: tuple[Instance, ...], found: Instance) -> str:
    counts = Counter(each.state.value for each in there if each.id != found.id)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
