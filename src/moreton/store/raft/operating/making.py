"""How a node comes to be: as the first of a new cluster, by joining one, or from a snapshot."""

from __future__ import annotations

import socket
from pathlib import Path

from moreton.consensus.disk import found, join
from moreton.consensus.host import first_snapshot
from moreton.consensus.transport import PeerTls
from moreton.consensus.transport.settings import split_address
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.store.raft.errors import AddressNotUsable
from moreton.store.raft.folder import (
    Node,
    NodeFolder,
    TlsFiles,
    check_free,
    make_folder,
    new_secret,
)
from moreton.store.raft.operating.backup import begin_anew, read_backup
from moreton.store.raft.operating.guests import Guest

FIRST = 1


def make_first(
    path: Path,
    address: str,
    *,
    listen: str | None = None,
    tls: TlsFiles | None = None,
    secret: bytes | None = None,
    clock: Clock | None = None,
) -> NodeFolder:
    """The folder of the first node of a new cluster, at *address*.

    Raises `AddressNotUsable`, `NodeFolderTaken`, `NodeFolderUnusable`.
    """
    return _make_first(path, address, first_snapshot({FIRST: address}), listen, tls, secret, clock)


def restore_first(
    path: Path,
    address: str,
    file: Path,
    *,
    listen: str | None = None,
    tls: TlsFiles | None = None,
    secret: bytes | None = None,
    clock: Clock | None = None,
) -> NodeFolder:
    """As `make_first`, of a new cluster that has what the snapshot in *file* holds.

    Raises `SnapshotDamaged` too.
    """
    check_free(path)
    _, data = read_backup(file)
    # The host's own part of a snapshot ends by telling whether the machine's follows.
    head = first_snapshot({FIRST: address})
    whole = head[:-1] + b"\x01" + begin_anew(file, data)
    return _make_first(path, address, whole, listen, tls, secret, clock)


async def join_cluster(
    path: Path,
    address: str,
    member: str,
    secret: bytes,
    *,
    listen: str | None = None,
    tls: TlsFiles | None = None,
    clock: Clock | None = None,
) -> NodeFolder:
    """The folder of a new node at *address*, let in by the running *member*.

    Nothing is asked before all that can be checked here is. Raises `AddressNotUsable`,
    `NodeFolderTaken`, `NodeFolderUnusable`, `NodeUnreachable`, `SecretRefused`, `ClocksApart`,
    `AddressTaken` and what else the cluster refuses.
    """
    listen = listen or address
    check_address(address, listen)
    check_free(path)
    files = None if tls is None else peer_tls(tls)
    guest = Guest(member, secret, tls=files, clock=clock)
    await guest.check_clock()
    admitted = await guest.ask("admit", address=address)
    cluster, node = admitted["cluster"], admitted["node"]
    who = Node(
        cluster=cluster,
        node=node,
        address=address,
        listen=listen,
        peers={int(number): at for number, at in admitted["addresses"].items()},
        tls=tls,
    )
    return make_folder(path, who, secret, found=lambda log: join(log, cluster=cluster, node=node))


def check_address(address: str, listen: str) -> None:
    """Raises `AddressNotUsable` unless this machine can listen, and others may find it.

    The port must be free now: whoever starts the node needs it, and another program there would
    be taken for it.
    """
    for text in (address, listen):
        try:
            _, port = split_address(text)
        except ValueError as error:
            raise AddressNotUsable(address=text, reason="it is not host:port") from error
        if port == 0:
            raise AddressNotUsable(address=text, reason="it has no port that others could dial")
    host, _ = split_address(address)
    if host in {"0.0.0.0", "::", ""}:
        raise AddressNotUsable(address=address, reason="others cannot dial a wildcard")
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AddressNotUsable(address=listen, reason=reason) from error


def peer_tls(files: TlsFiles) -> PeerTls:
    """The files as the transport wants them."""
    return PeerTls(Path(files.certificate), Path(files.key), Path(files.authority))


def _make_first(  # noqa: PLR0917 - what a node is made of
    path: Path,
    address: str,
    data: bytes,
    listen: str | None,
    tls: TlsFiles | None,
    secret: bytes | None,
    clock: Clock | None,
) -> NodeFolder:
    listen = listen or address
    check_address(address, listen)
    cluster = new_id((clock or SystemClock()).wall(), system_rng())
    who = Node(cluster, FIRST, address, listen, {FIRST: address}, tls)
    return make_folder(
        path,
        who,
        secret or new_secret(),
        found=lambda log: found(log, cluster=cluster, node=FIRST, voters=[FIRST], data=data),
    )
