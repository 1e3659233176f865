from __future__ import annotations

from dataclasses import replace

from moreton.registry.core.changes import (
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
    InstanceView,
    serving,
    to_change,
)
from moreton.registry.core.documents import encode, instance_key
from moreton.registry.core.instance import Instance, InstanceId, InstanceState
from moreton.store import KeyValue, WatchEvent

ONE = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80)
TWO = Instance(InstanceId("2"), "catalogue", "10.0.0.2", 80)
CART = Instance(InstanceId("1"), "cart", "10.0.0.3", 80)


def kv(instance: Instance, revision: int, value: bytes | None = None) -> KeyValue:
    stored = encode(instance) if value is None else value
    return KeyValue(instance_key(instance.service, instance.id), stored, 1, revision, 1)


def test_put_is_a_registration_when_nothing_was_there() -> None:
    assert to_change(WatchEvent("put", kv(ONE, 7), None)) == InstanceRegistered(7, ONE)


def test_put_is_an_update_when_something_was_there() -> None:
    heavier = replace(ONE, weight=9)
    event = WatchEvent("put", kv(heavier, 8), kv(ONE, 7))
    assert to_change(event) == InstanceUpdated(8, heavier, ONE)


def test_delete_is_a_removal_also_when_what_was_there_is_forgotten() -> None:
    assert to_change(WatchEvent("delete", kv(ONE, 9, b""), kv(ONE, 7))) == InstanceRemoved(
        9, "catalogue", InstanceId("1"), ONE
    )
    assert to_change(WatchEvent("delete", kv(ONE, 9, b""), None)) == InstanceRemoved(
        9, "catalogue", InstanceId("1"), None
    )


def test_unreadable_value_is_nothing_and_removes_what_was_readable() -> None:
    assert to_change(WatchEvent("put", kv(ONE, 7, b"?"), None)) is None
    assert to_change(WatchEvent("put", kv(ONE, 8, b"?"), kv(ONE, 7))) == InstanceRemoved(
        8, "catalogue", InstanceId("1"), ONE
    )


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
