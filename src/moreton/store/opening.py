"""From an address to a store."""

from __future__ import annotations

from pathlib import Path

from moreton.kernel.time import Clock
from moreton.store.errors import UnknownStoreUrl
from moreton.store.memory import open_memory_store
from moreton.store.protocol import Store

_SQLITE = "sqlite:///"
_ETCD = ("etcd://", "etcds://")
_RAFT = "raft:///"


def is_shared(url: str) -> bool:
    """Whether several processes, also of several machines, may use the store at *url* at once."""
    return url.startswith((*_ETCD, _RAFT))


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """The store at *url*: `memory:`, `sqlite:///relative/file`, `sqlite:////absolute/file`, others.

    raft: `raft:///relative/folder`, `raft:////absolute/folder` of a node; `?reads=local`.
    etcd: `etcd://host:2379,host2:2379/prefix?user=name&password_file=/path`, `etcds://` with TLS.
    Call it inside a running event loop, which the store then belongs to; `close` it at the end.
    Raises `UnknownStoreUrl` and the errors of the backend.
    """
    if url == "memory:":
        return open_memory_store(clock=clock)
    if url.startswith(_SQLITE) and url != _SQLITE:
        # Only who uses it loads SQLite.
        from moreton.store.sqlite import open_sqlite_store  # noqa: PLC0415 - as above

        return open_sqlite_store(Path(url.removeprefix(_SQLITE)), clock=clock)
    if url.startswith(_ETCD):
        # Only who uses it loads an HTTP client.
        from moreton.store.etcd import open_etcd_store  # noqa: PLC0415 - as above

        return open_etcd_store(url)
    if url.startswith("raft:"):
        # Only who uses it loads consensus.
        from moreton.store.raft import open_raft_store  # noqa: PLC0415 - as above

        return open_raft_store(url, clock=clock)
    raise UnknownStoreUrl(url=url)
