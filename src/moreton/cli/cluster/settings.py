"""What the commands of a cluster are told alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from moreton.store.raft.errors import SecretFileUnreadable, TlsIncomplete
from moreton.store.raft.folder import NodeFolder, TlsFiles

NewFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The node's folder; made by this command.")
]
Folder: TypeAlias = Annotated[Path, typer.Argument(metavar="FOLDER", help="The node's folder.")]
Address: TypeAlias = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where the other nodes reach this one.")
]
Listen: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where it listens, if not at its address."),
]
SecretFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--secret-file", metavar="FILE", help="The secret, if not a new one."),
]
TlsCertificate: TypeAlias = Annotated[
    Path | None,
    typer.Option("--tls-certificate", metavar="FILE", help="Encrypt: the node's certificate,"),
]
TlsKey: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="its key,")
]
TlsAuthority: TypeAlias = Annotated[
    Path | None,
    typer.Option("--tls-authority", metavar="FILE", help="and who vouches for the others."),
]


def tls_files(
    certificate: Path | None, key: Path | None, authority: Path | None
) -> TlsFiles | None:
    """The three of them, or none. Raises `TlsIncomplete`."""
    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None or authority is None:
        raise TlsIncomplete
    absolute = [str(path.absolute()) for path in (certificate, key, authority)]
    return TlsFiles(*absolute)


def read_secret(file: Path) -> bytes:
    """The secret in *file*. Raises `SecretFileUnreadable`."""
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SecretFileUnreadable(file=file, reason=reason) from error
    if len(secret) < 16:
        raise SecretFileUnreadable(file=file, reason=f"it has {len(secret)} bytes, 16 at least")
    return secret


def made(folder: NodeFolder) -> dict[str, object]:
    """The node that was made, for programs."""
    who = folder.node()
    return {
        "cluster": who.cluster,
        "node": who.node,
        "address": who.address,
        "listen": who.listen,
        "folder": str(folder.path),
        "secret_file": str(folder.path / "secret"),
        "store": f"raft:///{folder.path}",
    }
