"""Programs that say in lines what happens to them, and what a test does to them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

SECONDS = 30.0


class Program:
    """A running program, and the lines that it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait_line(self, wanted: Callable[[str], bool], *, after: int = 0) -> int:
        """The index of the first line like that at or after index *after*, once it is there."""
        async with asyncio.timeout(SECONDS), self._news:
            while True:
                for index in range(after, len(self.lines)):
                    if wanted(self.lines[index]):
                        return index
                after = len(self.lines)
                assert not self._reading.done(), f"it ended, having said {self.lines[-10:]}"
                await self._news.wait()

    async def wait_ended(self) -> int:
        """Its status, once it ended."""
        await asyncio.wait_for(self._reading, SECONDS)
        return await asyncio.wait_for(self.process.wait(), SECONDS)

    async def kill(self) -> None:
        """As `kill -9`."""
        if self.process.returncode is None:
            self.send(signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            await self.process.wait()
            await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._news:
                self.lines.append(line.decode().rstrip("\n"))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def running(path: Path, *arguments: str) -> AsyncIterator[Program]:
    """The Python program at *path*; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(path), *arguments, stdout=asyncio.subprocess.PIPE
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()
