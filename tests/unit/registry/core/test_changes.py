from __future__ import annotations

from dataclasses import replace

from moreton.registry.core.changes import (
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceView,
    serving,
)
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceState

ONE = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80)
TWO = Instance(InstanceId("2"), "catalogue", "10.0.0.2", 80)
CART = Instance(InstanceId("1"), "cart", "10.0.0.3", 80)


def test_view_tells_which_services_changed() -> None:
    view = InstanceView()
    assert view.apply(InstancesListed(1, (ONE, CART))) == {"catalogue", "cart"}
    assert view.apply(InstanceRegistered(2, TWO)) == {"catalogue"}
    assert view.services() == {"cart": (CART,), "catalogue": (ONE, TWO)}
    assert view.apply(InstanceRemoved(3, "catalogue", InstanceId("1"), ONE)) == {"catalogue"}
    assert view.of("catalogue") == (TWO,)


def test_view_tells_of_no_change_when_it_is_told_what_it_knows() -> None:
    view = InstanceView()
    view.apply(InstancesListed(1, (ONE, CART)))
    assert view.apply(InstanceRegistered(1, ONE)) == frozenset()
    assert view.apply(InstanceRemoved(2, "catalogue", InstanceId("9"), None)) == frozenset()
    assert view.apply(InstanceRemoved(2, "nothing", InstanceId("9"), None)) == frozenset()


def test_view_forgets_what_a_new_list_leaves_out() -> None:
    view = InstanceView()
    view.apply(InstancesListed(1, (ONE, CART)))
    assert view.apply(InstancesListed(9, (ONE,))) == {"cart"}
    assert view.services() == {"catalogue": (ONE,)}


def test_view_forgets_a_service_when_its_last_instance_leaves() -> None:
    view = InstanceView()
    view.apply(InstanceRegistered(1, CART))
    view.apply(InstanceRemoved(2, "cart", CART.id, CART))
    assert view.services() == {}


def test_serving_leaves_out_who_must_not_be_sent_requests() -> None:
    others = [
        replace(TWO, id=InstanceId(state.value), port=90 + number, state=state)
        for number, state in enumerate(InstanceState)
        if state is not InstanceState.SERVING
    ]
    weightless = replace(TWO, id=InstanceId("0"), port=99, weight=0)
    assert serving([TWO, *others, weightless, ONE]) == (ONE, TWO)


def test_serving_counts_processes_that_share_a_port_once() -> None:
    worker = replace(ONE, id=InstanceId("worker-2"))
    assert serving([worker, ONE]) == (ONE,)
