from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstanceUpdated,
)
from moreton.registry.core.checks import Check, HttpProbe
from moreton.registry.core.documents import (
    encode,
    encode_health,
    encode_order,
    encode_report,
    instance_key,
)
from moreton.registry.core.fold import Fold
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import (
    CheckResult,
    CheckStatus,
    Health,
    InstanceState,
    Order,
)
from moreton.registry.health import ttl_check
from moreton.store import KeyValue, WatchBatch, WatchEvent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80)
DRAIN = Order(InstanceState.DRAINING, NOON, reason="a deploy", by="anna")
CHECKED = replace(ONE, checks=(Check("http", HttpProbe("/health")),))
SICK = Health((CheckResult("http", CheckStatus.CRITICAL, NOON, "status 500"),))
WELL = Health((CheckResult("http", CheckStatus.PASSING, NOON),))
HOARSE = Health((CheckResult("http", CheckStatus.WARNING, NOON, "slow"),))
DRAINING = replace(
    ONE, state=InstanceState.DRAINING, reason="draining ordered by anna: a deploy", order=DRAIN
)
CRITICAL = replace(
    CHECKED, state=InstanceState.CRITICAL, reason="check http: status 500", health=SICK
)


def put(value: bytes, part: str = "", instance: Instance = ONE) -> WatchEvent:
    key = instance_key(instance.service, instance.id, part)
    return WatchEvent("put", KeyValue(key, value, 1, 1, 1), None)


def delete(part: str = "", instance: Instance = ONE) -> WatchEvent:
    key = instance_key(instance.service, instance.id, part)
    return WatchEvent("delete", KeyValue(key, b"", 0, 1, 0), None)


def told(fold: Fold, *events: WatchEvent, revision: int = 7) -> list[InstanceChange]:
    return fold.apply(WatchBatch(revision, events))


def states(fold: Fold) -> list[str]:
    return [each.state for each in fold.instances()]


def test_put_is_a_registration_when_nothing_was_there() -> None:
    assert told(Fold(), put(encode(ONE))) == [InstanceRegistered(7, ONE)]


def test_put_is_an_update_when_something_was_there_and_nothing_when_it_was_the_same() -> None:
    fold = Fold([put(encode(ONE)).kv])
    heavier = replace(ONE, weight=9)
    assert told(fold, put(encode(heavier))) == [InstanceUpdated(7, heavier, ONE)]
    assert told(fold, put(encode(heavier))) == []


def test_delete_is_a_removal_and_tells_how_it_was() -> None:
    fold = Fold([put(encode(ONE)).kv])
    assert told(fold, delete()) == [InstanceRemoved(7, "catalogue", ONE.id, ONE)]
    assert told(fold, delete()) == []
    assert fold.instances() == ()


def test_unreadable_value_is_nothing_and_removes_what_was_readable() -> None:
    fold = Fold()
    assert told(fold, put(b"?")) == []
    assert told(fold, put(encode(ONE)), put(b"?", "order"), put(b"?", "health")) == [
        InstanceRegistered(7, ONE)
    ]
    assert told(fold, put(b"?")) == [InstanceRemoved(7, "catalogue", ONE.id, ONE)]


def test_part_that_a_later_version_added_is_left_alone() -> None:
    fold = Fold([put(encode(ONE)).kv, put(b"{}", "aura").kv])
    assert fold.instances() == (ONE,)
    assert told(fold, put(b"{1}", "aura")) == []


def test_order_counts_until_it_is_taken_back() -> None:
    fold = Fold([put(encode(ONE)).kv])
    assert told(fold, put(encode_order(DRAIN), "order")) == [InstanceUpdated(7, DRAINING, ONE)]
    assert told(fold, delete("order")) == [InstanceUpdated(7, ONE, DRAINING)]


def test_order_waits_for_an_instance_that_registers_again() -> None:
    fold = Fold([put(encode_order(DRAIN), "order").kv, put(encode(ONE)).kv])
    assert told(fold, delete()) == [InstanceRemoved(7, "catalogue", ONE.id, DRAINING)]
    assert told(fold, put(encode(ONE))) == [InstanceRegistered(7, DRAINING)]


def test_instance_with_checks_starts_until_they_passed() -> None:
    (found,) = Fold([put(encode(CHECKED)).kv]).instances()
    assert (found.state, found.reason) == ("starting", "its checks have not passed yet")
    fold = Fold([put(encode(CHECKED)).kv, put(encode_health(WELL), "health").kv])
    assert fold.instances() == (replace(CHECKED, health=WELL),)


def test_instance_whose_checks_pass_from_the_start_serves_at_once() -> None:
    check = replace(CHECKED.checks[0], initial=CheckStatus.PASSING)
    assert states(Fold([put(encode(replace(ONE, checks=(check,)))).kv])) == ["serving"]


def test_failed_check_takes_an_instance_out_and_says_why() -> None:
    well = replace(CHECKED, health=WELL)
    fold = Fold([put(encode(CHECKED)).kv, put(encode_health(WELL), "health").kv])
    assert told(fold, put(encode_health(SICK), "health")) == [InstanceUpdated(7, CRITICAL, well)]
    assert told(fold, put(encode_health(WELL), "health")) == [InstanceUpdated(7, well, CRITICAL)]


def test_result_of_a_check_that_the_instance_has_no_more_counts_for_nothing() -> None:
    fold = Fold([put(encode(CHECKED)).kv, put(encode_health(SICK), "health").kv])
    assert states(fold) == ["critical"]
    told(fold, put(encode(ONE)))
    assert fold.instances() == (ONE,)


def test_warning_is_shown_and_takes_nothing_out() -> None:
    fold = Fold([put(encode(CHECKED)).kv, put(encode_health(HOARSE), "health").kv])
    assert fold.instances() == (replace(CHECKED, health=HOARSE),)


def test_check_with_a_ttl_passes_for_as_long_as_that_is_reported() -> None:
    fold = Fold([put(encode(replace(ONE, checks=(ttl_check("5s"),)))).kv])
    (found,) = fold.instances()
    assert (found.state, found.reason) == ("critical", "check ttl: nothing was reported for 5s")
    report = CheckResult("ttl", CheckStatus.PASSING, NOON, "fine")
    told(fold, put(encode_report(report), "report/ttl"))
    assert states(fold) == ["serving"]
    told(fold, put(encode_report(replace(report, status=CheckStatus.CRITICAL)), "report/ttl"))
    assert fold.instances()[0].reason == "check ttl: fine"
    told(fold, delete("report/ttl"))
    assert states(fold) == ["critical"]


def test_order_comes_before_failed_health_and_that_before_the_own_state() -> None:
    starting = replace(CHECKED, state=InstanceState.STARTING)
    kvs = [put(encode(starting)).kv, put(encode_health(SICK), "health").kv]
    assert states(Fold(kvs)) == ["critical"]
    kvs.append(put(encode_order(DRAIN), "order").kv)
    assert states(Fold(kvs)) == ["draining"]


def test_end_of_a_lease_is_one_removal_in_whatever_order_its_keys_go() -> None:
    for events in ((delete("health"), delete()), (delete(), delete("health"))):
        fold = Fold([put(encode(CHECKED)).kv, put(encode_health(SICK), "health").kv])
        assert told(fold, *events) == [InstanceRemoved(7, "catalogue", ONE.id, CRITICAL)]


def test_instances_come_by_service_and_id_whatever_the_keys_say() -> None:
    services = ["shop", "shop-a", "sho"]
    everyone = [replace(ONE, service=name, id=InstanceId(i)) for name in services for i in "ba"]
    kvs = sorted((put(encode(each), instance=each).kv for each in everyone), key=lambda kv: kv.key)
    found = [(each.service, each.id) for each in Fold(kvs).instances()]
    assert found == sorted((each.service, each.id) for each in everyone)


@pytest.mark.parametrize("health", [None, WELL, HOARSE])
def test_state_that_an_instance_gives_itself_stays_without_order_and_failure(
    health: Health | None,
) -> None:
    for state in InstanceState:
        kvs = [put(encode(replace(CHECKED if health else ONE, state=state))).kv]
        if health is not None:
            kvs.append(put(encode_health(health), "health").kv)
        assert states(Fold(kvs)) == [state]
