"""A node's folder: who it is, the cluster's secret, its log, and the lock of who runs it.

node.json   cluster, node, addresses; readable to all
secret      what proves that one belongs to the cluster; readable to the owner alone
log/        the durable part of consensus
lock        held by the process that runs the node; its number is in it
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moreton.store.raft.errors import (
    NodeFolderDamaged,
    NodeFolderTaken,
    NodeFolderUnusable,
    NotANodeFolder,
    SecretExposed,
)

if TYPE_CHECKING:
    from moreton.consensus.core.messages import NodeId

FORMAT = 1
LOG, NODE, SECRET = "log", "node.json", "secret"
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A node's certificate, its key, and the cluster's authority, for mutual TLS."""

    certificate: str
    key: str
    authority: str


@dataclass(frozen=True, slots=True)
class Node:
    """Which node of which cluster, where others reach it, and where it knows others to be."""

    cluster: str
    node: NodeId
    address: str
    listen: str
    peers: Mapping[NodeId, str] = field(default_factory=dict)
    tls: TlsFiles | None = None


class NodeFolder:
    """The folder of one node."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    @property
    def log(self) -> Path:
        """Where the durable part of consensus is."""
        return self.path / LOG

    def node(self) -> Node:
        """Who lives here. Raises `NotANodeFolder`, `NodeFolderDamaged`, `NodeFolderUnusable`."""
        file = self.path / NODE
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotANodeFolder(folder=self.path) from error
        except UnicodeDecodeError as error:
            raise NodeFolderDamaged(folder=self.path, reason=f"{NODE} is not text") from error
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            return _read_node(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{NODE} is damaged ({error})"
            raise NodeFolderDamaged(folder=self.path, reason=reason) from error

    def secret(self) -> bytes:
        """The cluster's secret. Raises `SecretExposed`, `NodeFolderDamaged`."""
        file = self.path / SECRET
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            content = file.read_bytes().strip()
        except FileNotFoundError as error:
            reason = f"{SECRET} is missing"
            raise NodeFolderDamaged(folder=self.path, reason=reason) from error
        except OSError as error:
            raise _unusable(self.path, error) from error
        if mode & 0o077:
            raise SecretExposed(folder=self.path, file=file, mode=mode)
        if not content:
            raise NodeFolderDamaged(folder=self.path, reason=f"{SECRET} is empty")
        return content

    def remember_peers(self, peers: Mapping[NodeId, str]) -> None:
        """Where the others are, for the next start. A full disk is no reason to stop."""
        known = self.node()
        if dict(known.peers) == dict(peers):
            return
        with contextlib.suppress(OSError):
            _write(self.path / NODE, _document(replace(known, peers=dict(peers))), 0o644)


def make_folder(
    path: Path, node: Node, secret: bytes, *, found: Callable[[Path], None]
) -> NodeFolder:
    """A folder for *node*, whole or not at all; *found* makes its log.

    Raises `NodeFolderTaken`, `NodeFolderUnusable`, and what *found* raises.
    """
    path = Path(os.path.realpath(path))
    check_free(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir(mode=0o700)
        _write(beside / SECRET, secret + b"\n", 0o600)
        found(beside / LOG)
        _write(beside / NODE, _document(node), 0o644)
        sync_folder(beside)
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise NodeFolderTaken(folder=path, holds="something") from error
        raise _unusable(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return NodeFolder(path)


def check_free(path: Path) -> None:
    """Raises `NodeFolderTaken` unless a node may be made at *path*."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        with contextlib.suppress(NotANodeFolder, NodeFolderDamaged):
            node = NodeFolder(path).node()
            holds = f"node {node.node} of the cluster {node.cluster}"
            raise NodeFolderTaken(folder=path, holds=holds)
        held = sorted(entry.name for entry in path.iterdir())
        if held:
            raise NodeFolderTaken(folder=path, holds=", ".join(held[:3]))
    elif path.exists():
        raise NodeFolderTaken(folder=path, holds="a file of that name")


def new_secret() -> bytes:
    """A secret that nobody guesses, as text."""
    return secrets.token_urlsafe(_SECRET_BYTES).encode()


def _document(node: Node) -> bytes:
    document = {"format": FORMAT, **asdict(node)}
    document["peers"] = {str(number): at for number, at in sorted(node.peers.items())}
    return json.dumps(document, indent=2).encode() + b"\n"


def _read_node(document: Any) -> Node:
    if document["format"] != FORMAT:
        message = f"format {document['format']}, this version knows {FORMAT}"
        raise ValueError(message)
    tls = document.get("tls")
    found = Node(
        cluster=document["cluster"],
        node=document["node"],
        address=document["address"],
        listen=document["listen"],
        peers={int(number): at for number, at in document["peers"].items()},
        tls=None if tls is None else TlsFiles(**tls),
    )
    for name, kind in (("cluster", str), ("address", str), ("listen", str), ("node", int)):
        if not isinstance(document[name], kind) or not document[name]:
            message = f"its {name} is {document[name]!r}"
            raise TypeError(message)
    return found


def _write(path: Path, content: bytes, mode: int) -> None:
    """*path* holds *content* durably, or what it held before."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    beside.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return once the names in *folder* are on the disk itself. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unusable(path: Path, error: OSError) -> NodeFolderUnusable:
    return NodeFolderUnusable(folder=path, reason=(error.strerror or str(error)).lower())
