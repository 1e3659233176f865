"""`moreton doctor`: whether this machine will do, and what to change if not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from moreton.cli.client import DEFAULT_CONFIG, Config, state_folder
from moreton.cli.exits import Exit
from moreton.cli.output import AsJson, print_json, print_rows
from moreton.controlplane.errors import AddressUnusable, PortInUse
from moreton.controlplane.ports import check_free
from moreton.controlplane.state_folder import holder_of
from moreton.kernel.errors import MoretonError

if TYPE_CHECKING:
    from moreton.controlplane.settings import Settings

_DISK_FAULT_BYTES = 50 * 1024**2
_DISK_WARNING_BYTES = 1024**3
# Two a request (both sides of a connection), and some for Envoy and the store.
_FILES_WANTED = 4096
_CONNECT_SECONDS = 1.0
_STORE_SECONDS = 5.0
_PYTHON_MIN = (3, 11)
_STA_UNSYNC = 0x0040  # Linux, include/uapi/linux/timex.h
_TIMEX_BYTES = 512  # larger than the kernel's struct timex
_STATUS_OFFSET = 40  # of `status` in struct timex where long has 64 bits


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Literal["ok", "warning", "fault"]
    found: str
    todo: str = ""


def doctor(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check this machine: versions, Envoy, configuration, ports, disk, clock, file limits.

    Exit status 1 when something is at fault; warnings alone do not count.

    [bold]Examples[/]

      moreton doctor

      moreton doctor --json
    """
    findings = list(_findings(config))
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        rows = [[each.check, each.level, each.found, each.todo] for each in findings]
        print_rows(["check", "verdict", "found", "what to do"], rows, empty="")
    if any(each.level == "fault" for each in findings):
        raise typer.Exit(Exit.NO)


def _findings(config: Path) -> Iterator[Finding]:
    settings, finding = _configuration(config)
    yield _versions()
    yield _envoy(settings)
    yield finding
    state = state_folder(config)
    running = holder_of(state)
    if settings is not None:
        yield from _ports(settings, running)
        yield from _services(settings)
        yield from _store(settings)
    yield _disk(state)
    yield _clock()
    yield _files()


def _versions() -> Finding:
    from moreton import __version__  # noqa: PLC0415 - reads the package's metadata

    found = f"moreton {__version__}, Python {platform.python_version()}, {platform.platform()}"
    if sys.version_info < _PYTHON_MIN:
        return Finding("versions", "fault", found, "use Python 3.11 or newer")
    return Finding("versions", "ok", found)


def _envoy(settings: Settings | None) -> Finding:
    from moreton.envoy.binary import envoy_version, find_envoy  # noqa: PLC0415 - only here

    configured = None if settings is None else settings.envoy.binary
    try:
        binary = find_envoy(
            None if settings is None or not configured else settings.folder / configured
        )
        return Finding("envoy", "ok", f"{envoy_version(binary)} at {binary}")
    except MoretonError as error:
        what, _, todo = str(error).partition("; ")
        return Finding("envoy", "fault", what, todo)


def _configuration(config: Path) -> tuple[Settings | None, Finding]:
    from moreton.config import ConfigRefused  # noqa: PLC0415 - only here
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - as above

    if not config.exists():
        todo = "write one with `moreton init --monolith PORT`"
        return None, Finding("configuration", "warning", f"there is no {config}", todo)
    try:
        settings = load_settings(config)
    except ConfigRefused as refused:
        count = len(refused.faults)
        found = f"{count} fault{'' if count == 1 else 's'} in {config}"
        return None, Finding("configuration", "fault", found, "see `moreton check`")
    return settings, Finding("configuration", "ok", f"{config}: {len(settings.routes)} routes")


def _ports(settings: Settings, running: int | None) -> Iterator[Finding]:
    wanted = [("API", settings.controlplane.api)]
    for name, gateway in settings.gateways.items():
        wanted += [(f"gateway {name}", listener.address) for listener in gateway.listeners]
    for what, address in wanted:
        check = f"port {address.host}:{address.port}"
        if running is not None:
            yield Finding(check, "ok", f"{what}: `moreton up` runs (pid {running})")
            continue
        try:
            check_free(address.host, address.port, what=what)
            yield Finding(check, "ok", f"free for the {what}")
        except (PortInUse, AddressUnusable) as error:
            found, _, todo = str(error).partition(": ")
            yield Finding(check, "fault", found, todo)


def _services(settings: Settings) -> Iterator[Finding]:
    for name, service in settings.services.items():
        for address in service.addresses:
            check, place = f"service {name}", f"{address.host}:{address.port}"
            try:
                socket.create_connection((address.host, address.port), _CONNECT_SECONDS).close()
                yield Finding(check, "ok", f"{place} accepts connections")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                yield Finding(check, "warning", f"{place}: {reason}", "start the service")


def _store(settings: Settings) -> Iterator[Finding]:
    """Whether a store that nodes share can be asked; one of this machine alone needs no look."""
    from moreton.controlplane.cluster.joining import shown_url  # noqa: PLC0415 - only here
    from moreton.controlplane.life.places import state_of, store_url  # noqa: PLC0415 - as above
    from moreton.store import is_shared  # noqa: PLC0415 - as above

    url = store_url(settings, state_of(settings))
    if not is_shared(url):
        return
    try:
        if url.startswith("raft:"):
            yield Finding("store", "ok", _member(url))
        else:
            revision = asyncio.run(_asked(url))
            yield Finding("store", "ok", f"{shown_url(url)} answers, revision {revision}")
    except MoretonError as error:
        found, _, todo = str(error).partition("; ")
        yield Finding("store", "fault", found, todo)
    except TimeoutError:
        found = f"{shown_url(url)} did not answer within {_STORE_SECONDS:g} s"
        yield Finding("store", "fault", found, "start it, and more than half of its members")


def _member(url: str) -> str:
    """Which node of a cluster has its folder at *url*; it is not started to look."""
    from moreton.store.raft import parse_address  # noqa: PLC0415 - only here
    from moreton.store.raft.folder import NodeFolder  # noqa: PLC0415 - as above

    folder = NodeFolder(Path(parse_address(url).folder))
    who = folder.node()
    return f"{folder.path} is node {who.node} of the cluster {who.cluster}"


async def _asked(url: str) -> int:
    from moreton.store import open_store  # noqa: PLC0415 - only here

    store = open_store(url)
    try:
        async with asyncio.timeout(_STORE_SECONDS):
            return (await store.range(b"/moreton/cluster/id")).revision
    finally:
        await store.close()


def _disk(state: Path) -> Finding:
    place = next(folder for folder in (state, *state.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{free // 1024**2} MiB free for {state}"
    if not os.access(place, os.W_OK):
        return Finding("disk", "fault", f"{place} may not be written", "give this user the right")
    if free < _DISK_FAULT_BYTES:
        return Finding("disk", "fault", found, "free some space: changes could not be stored")
    if free < _DISK_WARNING_BYTES:
        return Finding("disk", "warning", found, "free some space before it runs out")
    return Finding("disk", "ok", found)


def _clock() -> Finding:
    """Whether the kernel is told that the clock follows a time server. Linux; else unknown."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)
        status = libc.adjtimex(timex)
        raw = timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4]
        unsynchronised = int.from_bytes(raw, sys.byteorder) & _STA_UNSYNC
    except (OSError, AttributeError):
        return Finding("clock", "ok", "not known on this system")
    if status < 0 or unsynchronised:
        todo = "run a time service (chrony, systemd-timesyncd): certificates and logs need it"
        return Finding("clock", "warning", "follows no time server, as far as is known", todo)
    return Finding("clock", "ok", "follows a time server")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files allowed, {hard} at most"
    if soft != resource.RLIM_INFINITY and soft < _FILES_WANTED:
        todo = f"run `ulimit -n {_FILES_WANTED}` before, or raise LimitNOFILE of the unit"
        return Finding("file limit", "warning", found, todo)
    return Finding("file limit", "ok", found)
