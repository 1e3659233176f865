"""Processes that are there in milliseconds: forked by one that has everything loaded.

A program calls `serve` with what a process is to do; a test starts it by `Forks`, and may hear
what it says line by line by `Ear`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.waits import ANSWER_SECONDS, line_of


def serve(work: Callable[[Mapping[str, Any]], None]) -> None:
    """Fork a process for each line of input; say its number, and later its status."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(order)
                status = 0
            except BaseException:  # noqa: BLE001 - a forked process must not return
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)


class Forks:
    """The program *module* of the tests, as `support.saga_worker`, which serves."""

    def __init__(self, module: str) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", module], cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, **order: object) -> int:
        """Begin; its process id."""
        return self._ask(order)

    def wait(self, pid: int) -> int:
        """Its exit status, negative for a signal, once it ended."""
        return self._ask({"wait": pid})

    def run(self, **order: object) -> int:
        """Begin, and wait."""
        return self.wait(self.start(**order))

    def close(self) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(30)
        self._program.stdout.close()

    def _ask(self, order: object) -> int:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        return int(line_of(self._program.stdout, f"the answer to {order}", ANSWER_SECONDS))


class Mouth:
    """In a process that was started with `ear=`: what it says is heard, also when it is killed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)

    def say(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")


class Ear:
    """Hears one process at a time; *port* is for its `Mouth`."""

    def __init__(self) -> None:
        self.port = 0
        self._callers: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[asyncio.StreamReader]:
        """The lines of the process that was started last, to their end."""
        reader, writer = await self._callers.get()
        try:
            yield reader
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers.put_nowait((reader, writer))


@asynccontextmanager
async def an_ear() -> AsyncIterator[Ear]:
    """One that listens on loopback."""
    ear = Ear()
    server = await asyncio.start_server(ear._take, "127.0.0.1", 0)
    ear.port = server.sockets[0].getsockname()[1]
    async with server:
        yield ear
