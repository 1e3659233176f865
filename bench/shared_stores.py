"""Stores that several control planes share: the URL of each node's, by its name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.processes import need, running
from moreton.kernel.ports import free_port
from moreton.store.raft import open_raft_store
from moreton.store.raft.operating.making import join_cluster, make_first

_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.01


@contextlib.contextmanager
def raft(folder: Path, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Each control plane is a node of the store as well: there is no other server."""
    folders = {name: folder / f"raft-{name}" for name in names}
    asyncio.run(_make_raft(list(folders.values())))
    yield {name: f"raft:///{path}" for name, path in folders.items()}


async def _make_raft(folders: list[Path]) -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in folders]
    secret = make_first(folders[0], addresses[0]).secret()
    stores = [open_raft_store(f"raft:///{folders[0]}")]
    try:
        for path, address in zip(folders[1:], addresses[1:], strict=True):
            await stores[0].node.wait_started()
            await join_cluster(path, address, addresses[0], secret)
            stores.append(open_raft_store(f"raft:///{path}"))
            async with asyncio.timeout(_SECONDS_MAX):
                while len(stores[0].node.status().raft.configuration.voters) < len(stores):
                    await asyncio.sleep(_POLL_SECONDS)
    finally:
        for store in stores:
            await store.close()


@contextlib.contextmanager
def etcd(folder: Path, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """One etcd that all share."""
    client = free_port()
    with running(etcd_command(folder, client), log=folder / "etcd.log", port=client):
        yield dict.fromkeys(names, f"etcd://127.0.0.1:{client}")


def etcd_command(folder: Path, client: int) -> list[str]:
    """How an etcd is started that answers at port *client*, with its defaults."""
    peer = free_port()
    return [
        need("etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
