"""What a node knows of keys and their holders, whatever the store has forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from moreton.kernel.time import SystemClock
from moreton.registry.consul.core.keys.entries import Entry, encode
from moreton.registry.consul.following.state import ConsulState, entry_key
from moreton.registry.consul.following.topics import Waiters
from moreton.store import open_store


def at_once(work: Coroutine[Any, Any, Any]) -> None:
    """Done before anyone else takes a step, as a store in memory does it."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("a store in memory waits for nothing")


async def test_key_has_one_holder_when_its_change_was_compacted_before_it_was_told() -> None:
    store = open_store("memory:")
    held = {name: encode(Entry("a", session=name)) for name in ("one", "two")}
    await store.put(entry_key("a"), held["one"])
    state = ConsulState(store, Waiters(), clock=SystemClock())

    def between_list_and_watch() -> None:
        assert state.held_by("one") == {"a"}
        at_once(store.put(entry_key("a"), held["two"]))
        # That change can still be watched, what lay there before is forgotten.
        at_once(store.compact(store.statistics().revision))

    following = asyncio.create_task(state.mirror.follow(between_list_and_watch))
    await state.mirror.wait_loaded()
    await state.mirror.wait_revision(store.statistics().revision)
    assert state.holders() == {"two"}, "or the end of session one would end the lock of two"
    following.cancel()
    await store.close()
