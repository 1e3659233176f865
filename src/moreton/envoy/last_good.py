"""The last good configuration on disk, and an Envoy that starts from it without a control plane.

A generation is one file: its number, a hash of its content, and its format are its name, so that
a damaged file is known and the one before is taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from moreton.envoy.admin import AdminClient
from moreton.envoy.binary import envoy_version
from moreton.envoy.process.beginning import begin
from moreton.envoy.process.ending import reason_in
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.launch import Launch, Lineage
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.rng import system_rng

GENERATIONS_KEPT = 3
_HASH_BYTES = 12
_NAME = re.compile(r"(\d{8})-([0-9a-f]{24})\.(json|pb)")
_READY_SECONDS_MAX = 20.0
_POLL_SECONDS = 0.01
_LOG_LINES_SEARCHED = 50


class NoLastGood(MoretonError):
    """There is no last good configuration that could be used."""

    code = "no-last-good"


class ColdStartFailed(MoretonError):
    """An Envoy did not come to serve the last good configuration."""

    code = "cold-start-failed"
    retry = RetryAdvice.AFTER


@dataclass(frozen=True, slots=True)
class Generation:
    """One saved configuration: later ones have higher numbers."""

    number: int
    path: Path
    digest: str

    def read(self) -> bytes | None:
        """What was saved; `None` when that is gone or damaged."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        return content if _digest(content) == self.digest else None


class LastGood:
    """Complete static bootstraps in *folder*, of which the latest few are kept."""

    def __init__(self, folder: Path, *, kept: int = GENERATIONS_KEPT) -> None:
        if kept < 1:
            raise ValueError(f"{kept} generations cannot be kept; keep at least one")
        self._folder = folder
        self._kept = kept

    def save(self, bootstrap: bytes) -> Generation:
        """Keep *bootstrap* (JSON, or a serialised message), whole or not at all, synced to disk.

        Nothing is written when the latest generation holds the same. Only this user can read it:
        it may hold private keys. Raises `OSError`.
        """
        found = self.generations()
        digest = _digest(bootstrap)
        if found and found[-1].digest == digest and found[-1].read() is not None:
            return found[-1]
        number = found[-1].number + 1 if found else 1
        ending = "json" if bootstrap[:1] == b"{" else "pb"  # no message can begin with a brace
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{number:08}-{digest}.{ending}"
        _write(path, bootstrap)
        for old in found[: -self._kept + 1] if self._kept > 1 else found:
            old.path.unlink(missing_ok=True)
        return Generation(number, path, digest)

    def load(self) -> Generation:
        """The latest generation that is undamaged. Raises `NoLastGood`."""
        found = self.generations()
        for generation in reversed(found):
            if generation.read() is not None:
                return generation
        what = f"all {len(found)} are damaged" if found else "none was saved yet"
        raise NoLastGood(
            f"there is no last good configuration in {self._folder}, {what}: Envoy cannot be "
            "started without a control plane; run `moreton up`"
        )

    def generations(self) -> list[Generation]:
        """All that are kept, the latest last; damaged ones too."""
        if not self._folder.is_dir():
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return sorted(
            (Generation(int(match[1]), path, match[2]) for match, path in found if match),
            key=lambda generation: generation.number,
        )


async def start_last_good(
    folder: Path,
    *,
    binary: Path,
    drain_time: timedelta = timedelta(seconds=30),
    concurrency: int | None = None,
) -> int:
    """Serve what `LastGood(folder / "last-good")` holds, with no control plane: Envoy's pid.

    An Envoy that already runs in *folder* is left alone. A control plane that comes back takes
    over from this one without a lost connection (`EnvoySupervisor`). Until then nobody starts it
    again when it dies.

    Raises `NoLastGood`, `ColdStartFailed`, `EnvoyUnusable`, `EnvoySupervised`,
    `EnvoyFolderUnusable`.
    """
    version = str(await asyncio.to_thread(envoy_version, binary))
    place = EnvoyFolder(folder)
    place.hold()
    try:
        running = place.current()
        if running is not None:
            return running.identity.pid
        generation = LastGood(place.path / "last-good").load()
        launch = Launch(
            binary=binary,
            version=version,
            bootstrap=generation.path,
            content=generation.path.read_bytes(),
            sockets=place.make_sockets(),
            drain_time=drain_time,
            concurrency=concurrency,
            override={"admin": {"address": {"pipe": {"path": str(place.admin_socket)}}}},
        )
        return await _start(place, launch)
    finally:
        place.release()


async def _start(place: EnvoyFolder, launch: Launch) -> int:
    began = place.log.size()
    try:
        started = begin(place, launch, Lineage.begin(system_rng()), kind="last-good")
    except OSError as error:
        raise ColdStartFailed(
            f"Envoy cannot be started from {launch.bootstrap}, {error.strerror}: nothing is "
            "served; see whether the disk is full"
        ) from error
    admin = AdminClient(place.admin_socket)
    try:
        async with asyncio.timeout(_READY_SECONDS_MAX):
            while started.identity.is_alive():
                if await admin.is_ready():
                    return started.identity.pid
                await asyncio.sleep(_POLL_SECONDS)
        why = reason_in(place.log.tail(_LOG_LINES_SEARCHED, since=began)) or "it ended"
    except TimeoutError:
        why = f"not ready after {_READY_SECONDS_MAX:g} s"
    raise ColdStartFailed(
        f"Envoy does not serve {launch.bootstrap}, {why}: nothing is served; see "
        f"{place.log.path}, and run `moreton up`"
    )


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).hexdigest()


def _write(path: Path, content: bytes) -> None:
    making = path.with_suffix(".making")
    making.unlink(missing_ok=True)
    file = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        making.replace(path)
    except OSError:
        making.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
