"""A program that competes: `contender.py MODE URL NAME TTL_SECONDS`. Its lines say what happens.

`lead`: leads whenever it can. `leads TOKEN`, then `wrote N` for each write with the token, `tick`
for each step between; `lost` or `fenced` at the end of a term.
`wait`: waits for the lock in a coroutine; `thread`: in the main thread. `interrupted` at Ctrl-C.
`fork`: holds the lock in a thread and forks; the child says what it can do with it.
`count`: adds to a counter under the lock, and tells each step as an event of a history.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import timedelta

from moreton.election import (
    Election,
    FencedOff,
    LeadershipLost,
    Lock,
    LockLost,
    StillHeld,
    Term,
    sync,
)
from moreton.kernel.errors import MoretonError
from moreton.store import Put, Store, open_store

TICK_SECONDS = 0.005
COUNTER = b"counter"


def say(line: str) -> None:
    print(line, flush=True)


async def lead(store: Store, name: str, ttl: timedelta) -> None:
    await Election(store, "jobs", ttl=ttl).lead(lambda term: duty(term, name), value=name.encode())


async def duty(term: Term, name: str) -> None:
    say(f"leads {term.token}")
    number = 0
    try:
        while True:
            number += 1
            await term.write([Put(b"work", f"{name} {number}".encode())])
            say(f"wrote {number}")
            await asyncio.sleep(TICK_SECONDS)
            say("tick")
    except asyncio.CancelledError:
        say("lost")
        raise
    except FencedOff:
        say("fenced")
        raise


async def wait(store: Store, name: str, ttl: timedelta) -> None:
    try:
        async with Lock(store, "till", ttl=ttl, value=name.encode()):
            say("in")
    except asyncio.CancelledError:
        say("interrupted")
        raise


async def count(store: Store, name: str, ttl: timedelta) -> None:
    while True:
        try:
            async with Lock(store, "counter", ttl=ttl, value=name.encode()) as held:
                await add_one(store, held, name)
        except LockLost:
            continue


async def add_one(store: Store, held: Term, name: str) -> None:
    found = (await store.range(COUNTER)).kvs
    before = int(found[0].value) if found else None
    after = 1 if before is None else before + 1
    tell("invoke", name, [before, after])
    kind = "info"
    try:
        await held.write([Put(COUNTER, b"%d" % after)])
        kind = "ok"
    except FencedOff:
        kind = "fail"
        raise
    finally:
        tell(kind, name, None)


def tell(kind: str, process: str, value: object) -> None:
    moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9
    event = {"process": process, "type": kind, "op": "cas", "key": "counter", "value": value}
    say(json.dumps({**event, "time": moment}))


def in_thread(url: str, name: str, ttl: timedelta) -> None:
    try:
        with (
            sync.SyncStore(url) as store,
            sync.Lock(store, "till", ttl=ttl, value=name.encode()),
        ):
            say("in")
    except KeyboardInterrupt:
        say("interrupted")


def fork(url: str, ttl: timedelta) -> None:
    store = sync.SyncStore(url)
    lock = sync.Lock(store, "till", ttl=ttl, wait=timedelta(0))
    with lock as held:
        child = os.fork()
        if child == 0:
            in_child(store, lock, held)
            os._exit(0)
        os.waitpid(child, 0)
        say(f"parent holds: {held.is_held}")
    store.close()


def in_child(store: sync.SyncStore, lock: sync.Lock, held: sync.Term) -> None:
    say(f"child holds: {held.is_held}")
    try:
        held.check()
    except LockLost as error:
        say(f"child: {error.reason}")
    for what in (lambda: held.write([Put(b"work", b"child")]), held.resign):
        try:
            what()
        except LockLost:
            say("child may not")
    say(f"child has lost it: {held.wait_lost()}")
    try:
        with lock:
            say("child is in")
    except StillHeld:
        say("child is not let in")
    with sync.Lock(store, "other"):
        say("child has a store of its own")
    lock.__exit__(None, None, None)  # it leaves the body that its parent is in
    store.close()


async def main(mode: str, url: str, name: str, ttl: timedelta) -> None:
    store = open_store(url)
    try:
        await {"lead": lead, "wait": wait, "count": count}[mode](store, name, ttl)
    finally:
        await store.close()


if __name__ == "__main__":
    _, wanted, address, own_name, seconds = sys.argv
    length = timedelta(seconds=float(seconds))
    if wanted == "fork":
        fork(address, length)
    elif wanted == "thread":
        in_thread(address, own_name, length)
    else:
        try:
            asyncio.run(main(wanted, address, own_name, length))
        except (KeyboardInterrupt, LeadershipLost):
            sys.exit(130)
        except MoretonError as error:
            sys.exit(f"{error.code}: {error}")
