"""`moreton cluster init`, `join`, `restore`: a node's folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.cluster.settings import (
    Address,
    Listen,
    NewFolder,
    SecretFile,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    made,
    read_secret,
    tls_files,
)
from moreton.cli.output import AsJson, print_json, print_line
from moreton.store.raft import operating
from moreton.store.raft.folder import NodeFolder


def init(
    folder: NewFolder,
    *,
    address: Address,
    listen: Listen = None,
    secret_file: SecretFile = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_authority: TlsAuthority = None,
    as_json: AsJson = False,
) -> None:
    """Make the first node of a new cluster.

    The folder gets the cluster's secret, which proves that a node belongs to it: copy it to where
    the others join, and let nobody else read it.

    [bold]Examples[/]

      moreton cluster init node1 --address 10.0.0.1:7500

      moreton cluster init node1 --address node1.example:7500 --listen 0.0.0.0:7500
    """
    made_folder = operating.make_first(
        folder,
        address,
        listen=listen,
        tls=tls_files(tls_certificate, tls_key, tls_authority),
        secret=None if secret_file is None else read_secret(secret_file),
    )
    if as_json:
        print_json(made(made_folder))
        return
    _say_made(made_folder, folder)
    print_line("the others, each on its own machine, with a copy of the secret:")
    print_line(
        f"  moreton cluster join FOLDER --address HOST:PORT --member {address} "
        f"--secret-file {folder}/secret"
    )


def join(
    folder: NewFolder,
    *,
    address: Address,
    member: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where any running node of the cluster is.")
    ],
    secret_file: Annotated[
        Path, typer.Option("--secret-file", metavar="FILE", help="The cluster's secret.")
    ],
    listen: Listen = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_authority: TlsAuthority = None,
    as_json: AsJson = False,
) -> None:
    """Make a node that belongs to a cluster, which must be running.

    It gets a number that no node had before. Once it runs it is given everything, and votes as
    soon as it has caught up: nothing waits for it until then.

    [bold]Examples[/]

      moreton cluster join node2 --address 10.0.0.2:7500 --member 10.0.0.1:7500 --secret-file secret
    """
    made_folder = asyncio.run(
        operating.join_cluster(
            folder,
            address,
            member,
            read_secret(secret_file),
            listen=listen,
            tls=tls_files(tls_certificate, tls_key, tls_authority),
        )
    )
    if as_json:
        print_json(made(made_folder))
    else:
        _say_made(made_folder, folder)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `snapshot` saved.")],
    folder: NewFolder,
    *,
    address: Address,
    listen: Listen = None,
    secret_file: SecretFile = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_authority: TlsAuthority = None,
    as_json: AsJson = False,
) -> None:
    """Make the first node of a new cluster that has what a snapshot holds.

    A damaged file is refused before anything is made. Nodes of the cluster that the snapshot was
    taken of cannot join the new one: make them anew by `join`.

    [bold]Examples[/]

      moreton cluster restore monday.snapshot node1 --address 10.0.0.1:7500
    """
    made_folder = operating.restore_first(
        folder,
        address,
        file,
        listen=listen,
        tls=tls_files(tls_certificate, tls_key, tls_authority),
        secret=None if secret_file is None else read_secret(secret_file),
    )
    if as_json:
        print_json(made(made_folder))
    else:
        _say_made(made_folder, folder)


def _say_made(made_folder: NodeFolder, folder: Path) -> None:
    who = made_folder.node()
    print_line(f"node {who.node} of the cluster {who.cluster} lives in {folder}")
    print_line(f"run it: moreton cluster run {folder}")
    print_line(f"or as the store of moreton up: controlplane: {{store: raft:///{folder}}}")
