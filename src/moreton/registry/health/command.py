"""The command probe: a program whose exit status says how an instance is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moreton.registry.core.checks import CommandProbe
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.looking import Finding

_OUTPUT_BYTES_MAX = 4 * 1024
# What it said is there when it ends, unless somebody outside its group holds the pipe open.
_OUTPUT_SECONDS_MAX = 0.2
_STATUSES = {0: CheckStatus.PASSING, 1: CheckStatus.WARNING}


async def look_command(instance: Instance, probe: CommandProbe) -> Finding:
    """Run it; status 0 passes, 1 warns, any other is critical.

    It runs in a session of its own, which is killed as a whole when it ends or its time is over.
    """
    names = {"address": instance.address, "port": str(instance.port)}
    argv = [_filled(word, names) for word in probe.argv]
    async with _pipe() as (reading, writing):
        try:
            program = await _start(argv, instance, writing)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return Finding(CheckStatus.CRITICAL, f"{argv[0]} cannot be started: {why}")
        try:
            status = await program.wait()
        finally:
            # Also what it left behind in its group, so that nothing piles up.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
            await asyncio.shield(program.wait())
        await asyncio.wait([reading], timeout=_OUTPUT_SECONDS_MAX)
        output = reading.result() if reading.done() else ""
    said = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
    return Finding(
        _STATUSES.get(status, CheckStatus.CRITICAL), f"{said}: {output}" if output else said
    )


async def _start(argv: list[str], instance: Instance, writing: int) -> asyncio.subprocess.Process:
    """Run *argv*; the descriptor *writing* is the program's alone from then on."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env={
                **os.environ,
                "MORETON_SERVICE": instance.service,
                "MORETON_INSTANCE": instance.id,
                "MORETON_ADDRESS": instance.address,
                "MORETON_PORT": str(instance.port),
            },
            start_new_session=True,
        )
    finally:
        os.close(writing)


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.Task[str], int]]:
    """What is read of a pipe, and the end to write to, which whoever gets it closes.

    Not asyncio's own pipe: with that, some versions wait for its end before they tell of the
    program's.
    """
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    reading = asyncio.create_task(_output(reader))
    try:
        yield reading, write_end
    finally:
        reading.cancel()
        transport.close()


async def _output(reader: asyncio.StreamReader) -> str:
    """The beginning of what it says; the rest is read and dropped, or it would wait for us."""
    kept = b""
    while part := await reader.read(_OUTPUT_BYTES_MAX):
        kept = (kept + part)[:_OUTPUT_BYTES_MAX]
    return " ".join(kept.decode(errors="replace").split())


def _filled(word: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        word = word.replace("{" + name + "}", value)
    return word
