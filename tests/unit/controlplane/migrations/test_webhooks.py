"""Webhooks: what happens to a migration is told, in order and at least once, come what may.

The receivers are real HTTP servers; signatures are checked by the library of Standard Webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin
from moreton.controlplane.migrations.hooks.posting import post
from moreton.controlplane.migrations.host import Migrations
from moreton.gateway.core.model import Destination, Route, RouteMatch, Service
from moreton.kernel.patterns import PathKind, PathPattern
from moreton.resilience.core.backoff import Backoff
from moreton.store import Compare, Store, open_store
from moreton.store.core.model import Op, TxnResult
from moreton.store.errors import StoreClosed
from moreton.strangler.rollout.core.plan import ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Happening, Order, Ordered
from moreton.strangler.rollout.core.webhooks import Webhook
from support.ports import free_port
from support.receiver import Receiver
from support.waits import SECONDS

STAGES = (Stage("10%", 0.1, timedelta(0), 0, manual=True), Stage("100%", 1.0, timedelta(0), 0))
PLAN = Plan("move", "everything", "old", "new", STAGES, (ErrorGate(),))
SECRET = f"whsec_{base64.b64encode(b'a key that nobody can guess').decode()}"
SOON = Backoff(initial=timedelta(milliseconds=1), cap=timedelta(milliseconds=5))


def desired() -> Desired:
    path = PathPattern(PathKind.PREFIX, "/*", "")
    route = Route("everything", RouteMatch(path), to=(Destination("old"), Destination("new")))
    made = Desired()
    made.replace_file(
        {
            ObjectKey(Kind.ROUTE, "everything"): Definition(route, Origin.FILE),
            **{
                ObjectKey(Kind.SERVICE, each): Definition(Service(each), Origin.FILE)
                for each in ("old", "new")
            },
        }
    )
    return made


@dataclass
class Told:
    """Migrations of a store with *webhooks*, told by whoever is `telling`."""

    webhooks: tuple[Webhook, ...]
    store: Store = field(default_factory=lambda: open_store("memory:"))
    edited: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.host = Migrations(
            self.store,
            desired(),
            lambda: {"move": PLAN},
            webhooks=lambda: {"move": self.webhooks},
        )

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        return await self.store.txn(compare, then)

    @contextlib.asynccontextmanager
    async def telling(self, write: Any = None) -> AsyncIterator[asyncio.Task[None]]:
        """Within the block somebody tells; at its end he is killed."""
        work = self.host.deliver(lambda: self.edited, write or self.write)
        task = asyncio.create_task(work)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def edit(self, *webhooks: Webhook) -> None:
        """moreton.yaml has other webhooks from now on."""
        self.webhooks = webhooks
        self.edited.set()
        self.edited = asyncio.Event()

    async def order(self, *orders: Order) -> None:
        for each in orders:
            await self.host.order("move", Ordered(each, "olive", "why"))

    async def standing(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = (await self.host.show("move"))["webhooks"][number]
        return found


async def until(condition: Callable[[], Any], what: str) -> Any:
    async with asyncio.timeout(SECONDS):
        while True:
            found = condition()
            if found := (await found if asyncio.iscoroutine(found) else found):
                return found
            await asyncio.sleep(0.002)
    raise AssertionError(what)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


def webhook(receiver: Receiver | str, **changes: Any) -> Webhook:
    url = receiver if isinstance(receiver, str) else receiver.url
    return replace(Webhook("chat", url, secret=SECRET, backoff=SOON), **changes)


async def test_events_are_told_in_order_and_their_signatures_hold(receiver: Receiver) -> None:
    told = Told((webhook(receiver),))
    async with told.telling():
        await told.order(Order.START, Order.PAUSE, Order.RESUME, Order.ADVANCE, Order.ROLLBACK)
        kinds = ["started", "paused", "resumed", "approved", "rolled-back"]
        await until(lambda: receiver.kinds() == kinds, "all are told")
        await until(lambda: nothing_waits(told), "all are known to be told")
    assert (await told.standing())["delivered"] == 5
    for each in receiver.received:
        assert Verifier(SECRET).verify(each.body, each.headers) == each.event
        assert each.headers["content-type"].startswith("application/cloudevents+json")
        assert each.headers["webhook-id"] == each.event["id"]
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(receiver.received[0].body + b" ", receiver.received[0].headers)
    event = receiver.received[-1].event
    assert {name: event[name] for name in ("specversion", "source", "subject", "type")} == {
        "specversion": "1.0",
        "source": "/moreton/migrations/move",
        "subject": "move",
        "type": "moreton.migration.rolled-back",
    }
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert (event["data"]["by"], event["data"]["because"]) == ("olive", "why")
    assert (event["data"]["from"], event["data"]["to"], event["data"]["share"]) == ("old", "new", 0)
    assert event["data"]["text"] == (
        "move rolled back by order by olive, stage 10%; new gets 0% of everything: why"
    )


async def test_what_fails_is_told_again_with_the_same_id_and_before_what_came_later(
    receiver: Receiver,
) -> None:
    receiver.statuses = [500, 503, 429, 404]
    told = Told((webhook(receiver),))
    async with told.telling():
        await told.order(Order.START, Order.PAUSE)
        await until(lambda: receiver.kinds() == ["started", "paused"], "both are told")
    assert [each.status for each in receiver.received] == [500, 503, 429, 404, 204, 204]
    assert len({each.event["id"] for each in receiver.received}) == 2


async def test_receiver_that_is_down_gets_everything_once_it_is_up() -> None:
    port = free_port()
    told = Told((webhook(f"http://127.0.0.1:{port}/hook"),))
    async with told.telling():
        await told.order(Order.START, Order.ROLLBACK)
        standing = await until(lambda: tried(told), "somebody tries")
        assert standing["waiting"] == 2
        assert standing["to"] == f"http://127.0.0.1:{port}"
        assert standing["error"]
        receiver = Receiver(port=port)
        try:
            await until(lambda: receiver.kinds() == ["started", "rolled-back"], "both are told")
        finally:
            receiver.stop()


async def nothing_waits(told: Told) -> bool:
    return not (await told.standing())["waiting"]


async def tried(told: Told) -> dict[str, Any] | None:
    standing = await told.standing()
    return standing if standing["tries"] > 1 else None


async def test_slow_receiver_keeps_neither_orders_nor_others_waiting(receiver: Receiver) -> None:
    slow = Receiver()
    slow.open.clear()
    try:
        patience = timedelta(seconds=0.05)
        told = Told((webhook(slow, name="slow", timeout=patience), webhook(receiver)))
        async with told.telling():
            await told.order(Order.START, Order.ROLLBACK)
            await until(lambda: len(receiver.taken) == 2, "the other is told")
            standing = await until(lambda: tried(told), "the slow one is tried again")
            assert standing["error"] == "no answer within 0.05 s"
            assert slow.taken == []
            told.edit(webhook(slow, name="slow"), webhook(receiver))
            slow.open.set()
            await until(lambda: "rolled-back" in slow.kinds(), "it is told at last")
        assert len({each["id"] for each in slow.taken}) == 2
    finally:
        slow.stop()


async def test_receiver_that_dribbles_is_left_after_the_time_limit() -> None:
    ended = asyncio.Event()

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(100)
            while not reader.at_eof():
                writer.write(b"HTTP/1.1 200 OK\r\n" if not ended.is_set() else b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        ended.set()
        writer.close()

    server = await asyncio.start_server(dribble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        given = webhook(f"http://127.0.0.1:{port}/", timeout=timedelta(seconds=0.1))
        said = await post(given, {"id": "1"}, datetime.now().astimezone())
        assert said.error
        await asyncio.wait_for(ended.wait(), SECONDS)


async def test_killed_after_it_was_taken_it_is_told_again_and_nothing_is_lost(
    receiver: Receiver,
) -> None:
    told = Told((webhook(receiver),))
    killed = asyncio.Event()

    async def die(*_: Any, **__: Any) -> TxnResult:
        killed.set()
        return await asyncio.Future()  # the process ends here

    async with told.telling(die):
        await told.order(Order.START, Order.PAUSE)
        await asyncio.wait_for(killed.wait(), SECONDS)
    assert receiver.kinds() == ["started"]
    await told.order(Order.RESUME)
    async with told.telling():
        kinds = ["started", "started", "paused", "resumed"]
        await until(lambda: receiver.kinds() == kinds, "all are told")
        await until(lambda: nothing_waits(told), "all are known to be told")
    assert receiver.taken[0]["id"] == receiver.taken[1]["id"]
    async with told.telling():
        await told.order(Order.ROLLBACK)
        await until(lambda: receiver.kinds() == [*kinds, "rolled-back"], "the rest is told")


async def test_what_is_never_taken_is_given_up_and_the_next_one_told(receiver: Receiver) -> None:
    receiver.statuses = [500, 500]
    told = Told((webhook(receiver, give_up=timedelta(0)),))
    async with told.telling():
        await told.order(Order.START, Order.ROLLBACK)
        await until(lambda: receiver.kinds() == ["rolled-back"], "the next one is told")
        await until(lambda: nothing_waits(told), "that is known")
    standing = await told.standing()
    assert (standing["delivered"], standing["given_up"]) == (1, 1)


async def test_receiver_that_is_gone_for_ever_is_not_asked_twice(receiver: Receiver) -> None:
    receiver.statuses = [410]
    told = Told((webhook(receiver),))
    async with told.telling():
        await told.order(Order.START)
        await until(lambda: given_up(told), "it is given up")
    assert len(receiver.received) == 1


async def given_up(told: Told) -> bool:
    return bool((await told.standing())["given_up"])


async def test_redirect_is_not_followed_and_is_said(receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = [308], {"location": receiver.url}
    told = Told((webhook(receiver),))
    async with told.telling():
        await told.order(Order.START)
        await until(lambda: receiver.taken, "it is told at last")
    assert [each.status for each in receiver.received] == [308, 204]
    assert (await post(webhook(receiver.url), {"id": "1"}, datetime.now().astimezone())).error == ""


async def test_wait_that_the_receiver_asks_for_is_kept(receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = [503], {"retry-after": "600"}
    told = Told((webhook(receiver),))
    async with told.telling():
        await told.order(Order.START)
        standing = await until(lambda: failed(told), "it fails")
    wait = datetime.fromisoformat(standing["again"]) - datetime.now().astimezone()
    assert timedelta(seconds=500) < wait <= timedelta(seconds=600)


async def failed(told: Told) -> dict[str, Any] | None:
    standing = await told.standing()
    return standing if standing["tries"] else None


async def test_only_events_that_are_asked_for_are_told_and_none_from_before(
    receiver: Receiver,
) -> None:
    told = Told(())
    await told.order(Order.START, Order.PAUSE)
    async with told.telling():
        kinds = frozenset({Happening.PAUSED, Happening.ROLLED_BACK})
        told.edit(webhook(receiver, events=kinds))
        await told.order(Order.RESUME, Order.PAUSE, Order.RESUME, Order.ROLLBACK)
        await until(lambda: receiver.kinds() == ["paused", "rolled-back"], "both are told")
    assert len(receiver.received) == 2


async def test_new_address_counts_for_what_waits(receiver: Receiver) -> None:
    told = Told((webhook(f"http://127.0.0.1:{free_port()}/"),))
    async with told.telling():
        await told.order(Order.START)
        await until(lambda: failed(told), "the old address fails")
        told.edit(webhook(receiver))
        await until(lambda: receiver.kinds() == ["started"], "the new one is told")


async def test_secret_comes_from_a_file_that_is_read_anew(
    receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "hook.key"
    told = Told((webhook(receiver, secret="", secret_file=str(file)),))
    async with told.telling():
        await told.order(Order.START)
        standing = await until(lambda: failed(told), "there is no secret")
        assert standing["error"].startswith("its secret cannot be used: ")
        assert receiver.received == [], "told without a signature"
        file.write_text(f"{SECRET}\n")
        await until(lambda: receiver.taken, "it is told")
    assert Verifier(SECRET).verify(receiver.received[0].body, receiver.received[0].headers)


async def test_store_that_fails_ends_the_telling_with_its_error(receiver: Receiver) -> None:
    told = Told((webhook(receiver),))

    async def refuse(*_: Any, **__: Any) -> TxnResult:
        raise StoreClosed

    async with told.telling(refuse) as task:
        await told.order(Order.START)
        with pytest.raises(StoreClosed):
            await asyncio.wait_for(task, SECONDS)
