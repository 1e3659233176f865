"""Writes to a store file as fast as it can and tells what was answered, until it is killed.

Lines on standard output: `opening`; `begin WRITER NUMBER` before a write, `done WRITER NUMBER
REVISION` after its answer; `granted LEASE`, `revoking LEASE`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from moreton.store import Put
from moreton.store.host import LocalStore
from moreton.store.sqlite import file, open_sqlite_store

# Small, so that the log is moved into the main file often, and processes die while that happens.
file.CHECKPOINT_BYTES = 64 * 1024
WRITERS = 8
HISTORY_KEPT = 60
# Records of different lengths, so that pages are split and values overflow them.
FILLERS = [b"." * length for length in (0, 10, 300, 5000)]


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def write(store: LocalStore, writer: int) -> None:
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


async def lease(store: LocalStore) -> None:
    while True:
        granted = await store.grant(timedelta(hours=1))
        say(f"granted {granted}")
        await store.put(b"leased/%d" % granted, b"", lease=granted)
        say(f"revoking {granted}")
        await store.revoke(granted)


async def main(path: Path) -> None:
    sys.stdin.readline()
    say("opening")
    store = open_sqlite_store(path)
    await asyncio.gather(lease(store), *(write(store, writer) for writer in range(WRITERS)))


asyncio.run(main(Path(sys.argv[1])))
