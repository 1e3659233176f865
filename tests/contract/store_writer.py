"""Writes to a store file as fast as it can and tells what was answered, until it is killed.

Forked for each order with the `path` and an `ear`. It says: `opening`; `begin WRITER NUMBER` before
a write, `done WRITER NUMBER REVISION` after its answer; `granted LEASE`, `revoking LEASE`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from moreton.store import Put
from moreton.store.host import LocalStore
from moreton.store.sqlite import file, open_sqlite_store
from support.forking import Mouth, serve

# Small, so that the log is moved into the main file often, and processes die while that happens.
file.CHECKPOINT_BYTES = 64 * 1024
WRITERS = 8
HISTORY_KEPT = 60
# Records of different lengths, so that pages are split and values overflow them.
FILLERS = [b"." * length for length in (0, 10, 300, 5000)]
Say: TypeAlias = Callable[[str], None]


async def write(store: LocalStore, writer: int, say: Say) -> None:
    one, other = b"one/%d" % writer, b"other/%d" % writer
    found = await store.range(one)
    number = int(found.kvs[0].value.split(b" ")[0]) if found.kvs else 0
    while True:
        number += 1
        value = b"%d %s" % (number, FILLERS[number % len(FILLERS)])
        say(f"begin {writer} {number}")
        done = await store.txn(then=[Put(one, value), Put(other, value)])
        say(f"done {writer} {number} {done.revision}")
        if done.revision % HISTORY_KEPT == 0:
            await store.compact(done.revision - HISTORY_KEPT // 2)


async def lease(store: LocalStore, say: Say) -> None:
    while True:
        granted = await store.grant(timedelta(hours=1))
        say(f"granted {granted}")
        await store.put(b"leased/%d" % granted, b"", lease=granted)
        say(f"revoking {granted}")
        await store.revoke(granted)


async def main(path: Path, say: Say) -> None:
    say("opening")
    store = open_sqlite_store(path)
    writing = (write(store, writer, say) for writer in range(WRITERS))
    await asyncio.gather(lease(store, say), *writing)


def work(order: Mapping[str, Any]) -> None:
    asyncio.run(main(Path(order["path"]), Mouth(order["ear"]).say))


if __name__ == "__main__":
    serve(work)
