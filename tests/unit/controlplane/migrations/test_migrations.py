"""Migrations in a store: whatever is killed when, the weights are those of the stage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from moreton.controlplane.comparing.host import Comparisons
from moreton.controlplane.comparing.records import SHARES, share_from
from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin
from moreton.controlplane.migrations.copies import NoCopies
from moreton.controlplane.migrations.errors import (
    MigrationRefuses,
    MigrationUnreadable,
    UnknownMigration,
)
from moreton.controlplane.migrations.host import Migrations
from moreton.controlplane.migrations.looking import histograms
from moreton.controlplane.migrations.prometheus import ask, read
from moreton.controlplane.migrations.records import (
    decode_record,
    share_in,
    state_key,
    weights_of,
    written,
)
from moreton.controlplane.objects.keys import decode, move_key, weights_key
from moreton.gateway.core.model import Destination, Route, RouteMatch, Service
from moreton.kernel.patterns import PathKind, PathPattern
from moreton.kernel.time import Instant, SystemClock
from moreton.store import Put, Store, open_store
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import DifferenceGate, ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Commit, Looked, Order, Ordered, Save, share_of
from moreton.strangler.rollout.core.sides import Bin, Look, Reading, Side
from support.ports import free_port

STAGES = tuple(Stage(f"{share:.0%}", share, timedelta(0), 0) for share in (0.1, 0.5, 1.0))
PLAN = Plan("move", "everything", "old", "new", STAGES, (ErrorGate(),))
FINE = Looked(Look(Side(9000, 0), Side(1000, 0)))


def desired(*to: str) -> Desired:
    path = PathPattern(PathKind.PREFIX, "/*", "")
    route = Route("everything", RouteMatch(path), to=tuple(Destination(each) for each in to))
    made = Desired()
    made.replace_file(
        {
            ObjectKey(Kind.ROUTE, "everything"): Definition(route, Origin.FILE),
            **{ObjectKey(Kind.SERVICE, s): Definition(Service(s), Origin.FILE) for s in to},
        }
    )
    return made


def migrations(store: Store, *plans: Plan, to: Sequence[str] = ("old", "new")) -> Migrations:
    return Migrations(store, desired(*to), lambda: {plan.name: plan for plan in plans})


async def weights_in(store: Store) -> dict[str, Any]:
    found = await store.range(weights_key("everything"))
    return decode(found.kvs[0].value)


async def test_order_changes_state_history_and_weights_at_one_revision() -> None:
    store = open_store("memory:")
    found, revision = await migrations(store, PLAN).order("move", Ordered(Order.START, "olive"))
    assert (found["phase"], found["share"]) == ("running", 0.1)
    state = await store.range(state_key("move"))
    weights = await store.range(weights_key("everything"))
    assert state.kvs[0].mod_revision == weights.kvs[0].mod_revision == revision
    assert await weights_in(store) == {"old": 90, "new": 10}
    (entry,) = await migrations(store, PLAN).history("move")
    assert (entry["what"], entry["by"], entry["share"]) == ("started", "olive", 0.1)


async def test_killed_after_any_write_the_weights_are_those_of_the_stage() -> None:
    store = open_store("memory:")
    host = migrations(store, PLAN)
    await host.order("move", Ordered(Order.START))
    shares, moment = [], Instant(0)
    for _ in range(12):
        # A control plane that knows nothing but what the store has.
        kv = (await store.range(state_key("move"))).kvs[0]
        record = decode_record(kv.value)
        assert record is not None
        share = share_of(record.plan, record.progress)
        assert await weights_in(store) == weights_of(record.plan, share)
        if share not in shares:
            shares.append(share)
        moment += timedelta(seconds=20)
        for effect in Migration(record.plan, record.progress).handle(FINE, moment):
            assert isinstance(effect, Commit | Save)
            _, operations = written(record, effect, SystemClock().wall(), NoCopies())
            await store.txn((), operations)
    assert shares == [0.1, 0.5, 1.0]
    assert (await host.show("move"))["phase"] == "done"


async def test_plan_that_was_started_counts_until_the_next_start() -> None:
    store = open_store("memory:")
    await migrations(store, PLAN).order("move", Ordered(Order.START))
    other = Plan("move", "everything", "old", "new", STAGES[2:], (ErrorGate(),))
    found = await migrations(store, other).show("move")
    assert found["differs"]
    assert [each["name"] for each in found["stages"]] == ["10%", "50%", "100%"]
    await migrations(store, other).order("move", Ordered(Order.ROLLBACK))
    found, _ = await migrations(store, other).order("move", Ordered(Order.START))
    assert found["share"] == 1.0


async def test_second_migration_of_a_route_is_refused_while_the_first_moves_it() -> None:
    store = open_store("memory:")
    second = Plan("again", "everything", "old", "new", STAGES, (ErrorGate(),))
    await migrations(store, PLAN).order("move", Ordered(Order.START))
    with pytest.raises(MigrationRefuses, match='"again": "move" moves route "everything" now'):
        await migrations(store, second).order("again", Ordered(Order.START))


def later(state: dict[str, Any]) -> bytes:
    state["plan"]["gates"][0]["kind"] = "of a later version"
    return json.dumps(state).encode()


def beyond(state: dict[str, Any]) -> bytes:
    state["progress"]["stage"] = len(STAGES)
    return json.dumps(state).encode()


def damaged(state: dict[str, Any]) -> bytes:
    state["plan"]["sticky"] = 7
    return json.dumps(state).encode()


@pytest.mark.parametrize("change", [later, beyond, damaged, lambda _: b"[]", lambda _: b"\0"])
async def test_state_that_cannot_be_read_is_told_and_not_written_over(
    change: Callable[[dict[str, Any]], bytes],
) -> None:
    store = open_store("memory:")
    second = Plan("again", "other", "old", "new", STAGES, (ErrorGate(),))
    host = migrations(store, PLAN, second)
    await host.order("move", Ordered(Order.START))
    kv = (await store.range(state_key("move"))).kvs[0]
    value = change(json.loads(kv.value))
    for name in ("move", "gone from moreton.yaml"):
        await store.txn((), [Put(state_key(name), value)])
        with pytest.raises(MigrationUnreadable, match=f'"{name}" in the store is damaged, or'):
            await host.show(name)
        for order in (Order.START, Order.ROLLBACK):
            with pytest.raises(MigrationUnreadable, match="nothing was done"):
                await host.order(name, Ordered(order, force=True))
        assert (await store.range(state_key(name))).kvs[0].value == value
    shown = [(each["name"], each["phase"]) for each in await host.all()]
    assert shown == [
        ("again", "planned"), ("gone from moreton.yaml", "unreadable"), ("move", "unreadable"),
    ]  # fmt: skip
    assert await weights_in(store) == {"old": 90, "new": 10}


@pytest.mark.parametrize("order", [Order.RESUME, Order.ROLLBACK, Order.NO_RETURN])
async def test_migration_that_is_over_is_left_alone_while_another_moves_its_route(
    order: Order,
) -> None:
    store = open_store("memory:")
    second = Plan("again", "everything", "old", "new", STAGES, (ErrorGate(),))
    host = migrations(store, PLAN, second)
    await host.order("move", Ordered(Order.START))
    if order is Order.RESUME:
        await host.order("move", Ordered(Order.ROLLBACK))
    else:
        for _ in STAGES:
            await host.order("move", Ordered(Order.ADVANCE, force=True))
    await host.order("again", Ordered(Order.START))
    with pytest.raises(MigrationRefuses, match='"move": "again" moves route "everything" now'):
        await host.order("move", Ordered(order))
    assert await weights_in(store) == {"old": 90, "new": 10}


async def test_of_two_migrations_that_begin_at_once_on_one_route_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = open_store("memory:")
    second = Plan("again", "everything", "old", "new", STAGES, (ErrorGate(),))
    txn, both = store.txn, asyncio.Barrier(2)
    waits = [True, True]

    async def late(*values: Any) -> Any:
        if waits:
            waits.pop()
            await both.wait()
        return await txn(*values)

    monkeypatch.setattr(store, "txn", late)
    begun = await asyncio.gather(
        *[migrations(store, PLAN, second).order(one, Ordered(Order.START)) for one in
          ("move", "again")],
        return_exceptions=True,
    )  # fmt: skip
    assert sorted(isinstance(one, MigrationRefuses) for one in begun) == [False, True]


async def test_migration_of_a_route_that_sends_elsewhere_is_refused() -> None:
    host = migrations(open_store("memory:"), PLAN, to=("old", "other"))
    with pytest.raises(MigrationRefuses, match="sends to others than old and new"):
        await host.order("move", Ordered(Order.START))


async def test_unknown_migration_is_named_with_the_one_that_was_meant() -> None:
    host = migrations(open_store("memory:"), PLAN)
    with pytest.raises(UnknownMigration, match=r'there is no migration "mvoe".*write "move"'):
        await host.show("mvoe")


@pytest.mark.parametrize(
    ("share", "weights"),
    [(0.1, (90, 10)), (0.125, (8750, 1250)), (1.0, (0, 100)), (0.0, (100, 0)), (1 / 3, None)],
)
def test_weights_say_the_share(share: float, weights: tuple[int, int] | None) -> None:
    found = weights_of(PLAN, share)
    assert share_in(PLAN, found) == pytest.approx(share, abs=1e-6)
    if weights is not None:
        assert (found["old"], found["new"]) == weights


def test_times_of_envoy_below_ten_milliseconds_are_whole_ones() -> None:
    totals = [
        {"lower_bound": 3, "width": 0.1, "count": 2},
        {"lower_bound": 42, "width": 1, "count": 5},
    ]
    details = [{"name": "cluster.new.upstream_rq_time", "totals": totals}]
    found = histograms({"stats": [{"histograms": {"details": details}}]})
    assert found == {"cluster.new.upstream_rq_time": {Bin(3, 1): 2, Bin(42, 1): 5}}
    assert histograms({"stats": []}) == {}


def vector(*values: str) -> bytes:
    found = [{"metric": {}, "value": [1, value]} for value in values]
    return json.dumps(
        {"status": "success", "data": {"resultType": "vector", "result": found}}
    ).encode()


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        (vector("0.25"), Reading(0.25)),
        (
            b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "4"]}}',
            Reading(4.0),
        ),
        (
            vector(),
            Reading(why="the query finds nothing: there is no such metric, or none lately"),
        ),
        (
            vector("1", "2"),
            Reading(why="the query finds 2 values instead of one: use sum() or max()"),
        ),
        (
            b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "NaN"]}}',
            Reading(why="the query finds NaN, such as of 0 / 0: was there no traffic?"),
        ),
        (
            b'{"status": "error", "error": "parse error"}',
            Reading(why="the query is refused: parse error"),
        ),
        (b"<html>", Reading(why="status 200, and not what Prometheus answers: <html>")),
    ],
    ids=["one", "scalar", "none", "several", "nan", "refused", "html"],
)
def test_answer_of_prometheus_is_one_value_or_says_why_not(body: bytes, reading: Reading) -> None:
    assert read(200, body) == reading


async def test_prometheus_that_is_not_there_is_no_value() -> None:
    found = await ask(f"http://127.0.0.1:{free_port()}", "up")
    assert found.value is None
    assert "does not answer" in found.why


async def test_shadow_stage_asks_for_comparisons_and_a_rollback_takes_the_word_back() -> None:
    store = open_store("memory:")
    shadow = Stage("shadow", 0.0, timedelta(0), 100, copies=0.25)
    plan = Plan("move", "everything", "old", "new", (shadow, *STAGES), (DifferenceGate(),))
    copies = Comparisons(store, dict, dict, endpoints=lambda _: ())
    host = Migrations(store, desired("old", "new"), lambda: {"move": plan}, copies=copies)
    found, _ = await host.order("move", Ordered(Order.START))
    assert (found["share"], found["stage"]["name"]) == (0.0, "shadow")
    assert await weights_in(store) == {"old": 100, "new": 0}
    asked = await store.range(SHARES + b"everything")
    assert share_from(asked.kvs[0].value) == 0.25
    await host.order("move", Ordered(Order.ROLLBACK))
    assert (await store.range(SHARES + b"everything")).kvs == ()
    assert (await store.range(move_key("everything"))).kvs == ()


def test_sum_of_weights_is_one_for_all_stages_so_that_users_stay() -> None:
    stages = tuple(Stage(str(share), share) for share in (0.005, 0.25, 1.0))
    plan = Plan("move", "everything", "old", "new", stages, (ErrorGate(),))
    sums = {sum(weights_of(plan, each.share).values()) for each in stages}
    assert sums == {10_000}
