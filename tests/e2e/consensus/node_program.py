"""A node as a program: `node_program.py FOLDER`; it prints the port where clients may ask it.

A question is a line of JSON, and so is its answer. While it leads the election "duty" it keeps the
term in hand, also when that is over: `fenced` writes with it, as a leader would that was stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import uvloop

from moreton.election import Election, FencedOff, Term
from moreton.store import Compare, Put, Store
from moreton.store.errors import StoreError
from moreton.store.raft import RaftStore, open_raft_store
from moreton.store.raft.errors import ClusterUnreachable

TIMEOUT = "2s"


class Node:
    def __init__(self, store: RaftStore) -> None:
        self._store = store
        self._term: Term | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked = json.loads(line)
            try:
                answer = await getattr(self, "do_" + asked.pop("op"))(**asked)
            except ClusterUnreachable as error:
                answer = {"error": error.code, "sure": True}
            except (StoreError, FencedOff) as error:
                answer = {"error": error.code, "sure": False}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def do_read(self, key: str) -> dict[str, Any]:
        kvs = (await self._store.range(key.encode())).kvs
        return {"value": json.loads(kvs[0].value) if kvs else None}

    async def do_write(self, key: str, value: int) -> dict[str, Any]:
        await self._store.put(key.encode(), json.dumps(value).encode())
        return {}

    async def do_cas(self, key: str, expected: int | None, new: int) -> dict[str, Any]:
        name = key.encode()
        if expected is None:
            condition = Compare.create(name, "=", 0)
        else:
            condition = Compare.value(name, "=", json.dumps(expected).encode())
        done = await self._store.txn([condition], [Put(name, json.dumps(new).encode())])
        return {"done": done.succeeded}

    async def do_status(self) -> dict[str, Any]:
        raft = self._store.node.status().raft
        return {"node": raft.node, "leader": raft.leader, "term": raft.term} | {
            "voters": sorted(raft.configuration.voters)
        }

    async def do_duty(self) -> dict[str, Any]:
        term = self._term
        return {"token": term.token if term else None, "held": term is not None and term.is_held}

    async def do_fenced(self, value: int) -> dict[str, Any]:
        assert self._term is not None
        await self._term.write([Put(b"duty", json.dumps(value).encode())])
        return {}

    async def lead(self, store: Store) -> None:
        await Election(store, "duty", ttl=timedelta(seconds=2)).lead(self._hold)

    async def _hold(self, term: Term) -> None:
        self._term = term
        await asyncio.Event().wait()


async def main(folder: str) -> None:
    store = open_raft_store(f"raft:///{folder}?timeout={TIMEOUT}")
    await store.node.wait_started()
    node = Node(store)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    duty = asyncio.create_task(node.lead(store))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.gather(duty, server.serve_forever())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
