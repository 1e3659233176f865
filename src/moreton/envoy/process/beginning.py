"""Starting one Envoy in its folder."""

from __future__ import annotations

import os
from pathlib import Path

from moreton.envoy.identity import ProcessIdentity, Remembered, write_identity
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.launch import Launch, Lineage, facts_of
from moreton.envoy.process.spawning import spawn_orphan


def begin(folder: EnvoyFolder, launch: Launch, lineage: Lineage, *, kind: str) -> Remembered:
    """Start an Envoy, which is from now on the current one of *folder*. Raises `OSError`."""
    write_bootstrap(launch.bootstrap, launch.content)
    facts = facts_of(launch, lineage, kind)

    def remember(identity: ProcessIdentity) -> None:
        write_identity(folder.process, identity, facts)

    identity = spawn_orphan(
        launch.command(lineage),
        output=folder.output.path,
        errors=folder.log.path,
        remember=remember,
        environment=launch.environment(),
    )
    return Remembered(identity, facts)


def write_bootstrap(path: Path, content: bytes) -> None:
    """Put *content* at *path*, whole or not at all; nothing is written when it is there already."""
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    making = path.with_suffix(".making")
    making.unlink(missing_ok=True)
    file = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    making.replace(path)
