"""etcd as the store: for more than one machine, by changing a URL.

Use it when several control planes must share their state, or it must outlive a machine; for one
machine the SQLite store needs no server. Wants etcd 3.4 or later; speaks to its JSON gateway over
HTTP, without gRPC.

Guarantees: those of `moreton.store`, by etcd's own replication. Members that fail are left for
others; reads, renewals and watches go on by themselves, watches without loss or repeat. A write
whose answer was lost is never repeated: `EtcdAnswerLost` says that it may have happened.

    store = open_store("etcd://10.0.0.1:2379,10.0.0.2:2379/shop?user=moreton&password_file=/run/pw")
"""

from __future__ import annotations

from moreton.store.etcd.core.address import EtcdAddress, parse_address
from moreton.store.etcd.store import EtcdStore

__all__ = ["EtcdAddress", "EtcdStore", "open_etcd_store", "parse_address"]


def open_etcd_store(url: str) -> EtcdStore:
    """The store at *url*, `etcd://..` or `etcds://..`; call it inside a running event loop.

    Nothing is sent before the first operation. Raises `BadEtcdUrl`, `EtcdTlsUnusable`.
    """
    return EtcdStore(parse_address(url))
