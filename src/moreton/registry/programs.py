"""A program of its own session, and the signals of this process while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from moreton.registry.core.run import OtherSignalled, RunEvent, StopSignalled
from moreton.registry.errors import ProgramNotFound, ProgramNotStarted

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
OTHER_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


async def start_program(words: Sequence[str], port: int) -> asyncio.subprocess.Process:
    """Start it, with *port* in `$PORT` and where the *words* say `{port}`.

    Raises `ProgramNotFound`, `ProgramNotStarted`.
    """
    command = [word.replace("{port}", str(port)) for word in words]
    try:
        # A session of its own: Ctrl-C of the terminal must not reach it before it has left.
        return await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "PORT": str(port)}, start_new_session=True
        )
    except FileNotFoundError as error:
        raise ProgramNotFound(program=command[0]) from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ProgramNotStarted(program=command[0], reason=reason) from error


@asynccontextmanager
async def signals_as_events(events: asyncio.Queue[RunEvent]) -> AsyncIterator[None]:
    """The signals of this process become *events*, instead of what they do by default."""
    loop = asyncio.get_running_loop()
    wanted: dict[signal.Signals, RunEvent] = {
        **{number: StopSignalled(number) for number in STOP_SIGNALS},
        **{number: OtherSignalled(number) for number in OTHER_SIGNALS},
    }
    # What was ignored from the start stays so: that is how nohup works.
    taken = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, events.put_nowait, wanted[number])
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
