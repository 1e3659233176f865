"""From an address to a store."""

from __future__ import annotations

from pathlib import Path

from moreton.kernel.time import Clock
from moreton.store.errors import UnknownStoreUrl
from moreton.store.host import LocalStore
from moreton.store.memory import open_memory_store

_SQLITE = "sqlite:///"


def open_store(url: str, *, clock: Clock | None = None) -> LocalStore:
    """The store at *url*: `memory:`, `sqlite:///relative/file` or `sqlite:////absolute/file`.

    Call it inside a running event loop, which the store then belongs to; `close` it at the end.
    Raises `UnknownStoreUrl` and the errors of the backend.
    """
    if url == "memory:":
        return open_memory_store(clock=clock)
    if url.startswith(_SQLITE) and url != _SQLITE:
        # Only who uses it loads SQLite.
        from moreton.store.sqlite import open_sqlite_store  # noqa: PLC0415 - as above

        return open_sqlite_store(Path(url.removeprefix(_SQLITE)), clock=clock)
    raise UnknownStoreUrl(url=url)
