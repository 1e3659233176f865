"""One node of a Moreton cluster: the raft store behind the front door.

`python -m bench.consensus.moreton_node FOLDER PORT`: the node's folder, the port for clients.
"""

from __future__ import annotations

import sys

import uvloop

from bench.consensus.front import serve
from moreton.store.raft import RaftStore, open_raft_store


class MoretonTable:
    def __init__(self, store: RaftStore) -> None:
        self._store = store

    async def put(self, key: bytes, value: bytes) -> int:
        return await self._store.put(key, value)

    async def get(self, key: bytes) -> bytes | None:
        kvs = (await self._store.range(key)).kvs
        return kvs[0].value if kvs else None

    def status(self) -> tuple[int, int | None]:
        raft = self._store.node.status().raft
        # Who joined is a learner until it has the log: nobody could do without the leader yet.
        is_voter = raft.node in raft.configuration.voters
        return raft.node, raft.leader if is_voter else None


async def main(folder: str, port: int) -> None:
    store = open_raft_store(f"raft:///{folder}")
    await store.node.wait_started()
    server = await serve(MoretonTable(store), port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
