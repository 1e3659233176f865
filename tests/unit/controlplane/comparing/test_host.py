"""Which share is copied, while which collector is heard of, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.controlplane.comparing.host import SILENT, Comparisons
from moreton.controlplane.comparing.records import decode_heard
from moreton.gateway.core.model import Address, Endpoint
from moreton.store import Store, open_store
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.documents import task_from
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.testing.clock import VirtualClock

LIVE = Live("all", "shop", "new", share=0.1, side_effects=SideEffects.NONE)


class Proxy:
    """Remembers what it was told last."""

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}

    def put_copied(self, route: str, share: float) -> None:
        self.shares[route] = share


def comparisons(clock: VirtualClock, live: Live = LIVE, store: Store | None = None) -> Comparisons:
    def endpoints(service: str) -> list[Endpoint]:
        return [Endpoint(Address("127.0.0.1", 1))] if service in {"shop", "new"} else []

    return Comparisons(
        store or open_store("memory:"),
        lambda: {"all": live},
        dict,
        endpoints=endpoints,
        clock=clock,
    )


async def test_a_share_is_copied_while_the_collector_is_heard_of() -> None:
    clock, proxy = VirtualClock(), Proxy()
    made = comparisons(clock)
    made.publish(proxy, lambda: None)
    assert proxy.shares == {"all": 0.0}
    made.hear("one", {})
    made.publish(proxy, lambda: None)
    assert proxy.shares == {"all": 0.1}
    clock.advance(SILENT + timedelta(milliseconds=1))
    made.publish(proxy, lambda: None)
    assert proxy.shares == {"all": 0.0}
    assert made.trouble("all") == "no collector is heard of"


async def test_of_unknown_side_effects_nothing_is_copied_whoever_listens() -> None:
    clock = VirtualClock()
    made = comparisons(clock, Live("all", "shop", "new", share=1.0))
    assert made.hear("one", {}) == []
    assert made.share("all") == 0.0
    assert "side effects" in made.trouble("all")


async def test_what_is_copied_of_nothing_says_that_a_share_is_wanted() -> None:
    made = comparisons(VirtualClock(), replace(LIVE, share=0.0))
    made.hear("one", {})
    (found,) = await made.document()
    assert (found["share"], made.trouble("all")) == (0.0, "")
    assert found["trouble"].startswith("its share is 0%: write `share`")


async def test_a_collector_is_told_where_both_answer() -> None:
    (found,) = comparisons(VirtualClock()).hear("one", {})
    task = task_from(found)
    assert task.live == LIVE
    assert (task.primary, task.candidate) == ([("127.0.0.1", 1)], [("127.0.0.1", 1)])


async def test_counts_grow_over_restarts_of_collectors_and_nodes() -> None:
    clock, store = VirtualClock(), open_store("memory:")
    first = comparisons(clock, store=store)
    await first.resume()
    first.hear("one", {"all": {"compared": 5}})
    first.hear("one", {"all": {"compared": 7, "different": 1}})
    first.hear("two", {"all": {"compared": 2}})
    await first.write()
    await first.write()
    assert await first.counts("all") == Counts(compared=9, different=1)
    later = comparisons(clock, store=store)
    await later.resume()
    later.hear("three", {"all": {"compared": 1}})
    await later.write()
    assert await later.counts("all") == Counts(compared=10, different=1)
    await store.close()


async def test_collector_that_outlives_its_node_is_counted_once() -> None:
    clock, store = VirtualClock(), open_store("memory:")
    killed = comparisons(clock, store=store)
    await killed.resume()
    killed.hear("one", {"all": {"compared": 50, "different": 20}})
    await killed.write()
    killed.hear("one", {"all": {"compared": 51, "different": 20}})  # and it is killed
    later = comparisons(clock, store=store)
    later.hear("one", {"all": {"compared": 53, "different": 20}})  # too early to be counted
    await later.write()
    assert await later.counts("all") == Counts(compared=50, different=20)
    later.hear("one", {"all": {"compared": 54, "different": 21}})
    await later.write()
    assert await later.counts("all") == Counts(compared=54, different=21)
    await store.close()


async def test_what_is_known_of_a_collector_and_is_no_such_thing_is_nothing() -> None:
    for value in (b"", b"[]", b'{"run": "one"}', b'{"run": "one", "told": {"all": {"x": 1}}}'):
        assert decode_heard(value) == ("", {})


async def test_what_a_migration_says_counts_before_what_the_file_says() -> None:
    store = open_store("memory:")
    made = comparisons(VirtualClock(), store=store)
    made.hear("one", {})
    await store.txn(then=made.sampling("all", 0.5))
    await made.load()
    assert made.share("all") == 0.5
    await store.txn(then=made.sampling("all", None))
    await made.load()
    assert made.share("all") == 0.1
    await store.close()


async def test_a_share_is_from_nothing_to_everything() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        comparisons(VirtualClock()).sampling("all", 1.5)


async def test_what_are_no_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        comparisons(VirtualClock()).hear("one", {"all": {"compared": 1, "guessed": 2}})
