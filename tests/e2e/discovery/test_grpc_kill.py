"""gRPC servers are killed under load: calls that may be repeated do not fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.discovery.world import PushingServer, instance
from moreton.registry.discovery import AsyncDiscovery, Discovery
from moreton.registry.discovery.clients import grpc as for_threads
from moreton.registry.discovery.clients import grpc_aio as for_asyncio
from support.ports import free_port
from support.waits import end_at_once, join_all, line_of, wait_until

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).parents[2] / "support" / "grpc_echo.py"
TARGET = "moreton:///orders"
LABELS = ("one", "two", "three")
SECONDS_MAX = 20
PAUSE_SECONDS = 0.002


class Echoes:
    """Three real servers, each a process."""

    def __init__(self) -> None:
        self.ports = {label: free_port() for label in LABELS}
        self.running = {
            label: subprocess.Popen(
                [sys.executable, str(PROGRAM), label, str(port)], stdout=subprocess.PIPE
            )
            for label, port in self.ports.items()
        }
        for process in self.running.values():
            assert process.stdout is not None
            assert line_of(process.stdout, "ready") == b"ready\n"

    def kill(self, label: str) -> None:
        process = self.running.pop(label)
        end_at_once(process)

    def end(self) -> None:
        for label in list(self.running):
            self.kill(label)


@pytest.fixture
def echoes(server: PushingServer) -> Iterator[Echoes]:
    echoes = Echoes()
    server.put(*(instance(label, port) for label, port in echoes.ports.items()))
    yield echoes
    echoes.end()


def wait_more(answers: Counter[bytes], more: int) -> None:
    count = answers.total()
    wait_until(lambda: answers.total() >= count + more, f"{more} more answers")


def kill_two(echoes: Echoes, answers: Counter[bytes]) -> None:
    """The registry still names them: only the client's own eyes help."""
    for label in ("one", "two"):
        wait_until(lambda: min(answers[each.encode()] for each in LABELS) >= 20, "all answer")
        echoes.kill(label)
        wait_more(answers, 200)
    of_the_dead = answers[b"one"], answers[b"two"]
    wait_more(answers, 50)
    assert (answers[b"one"], answers[b"two"]) == of_the_dead


def test_calls_of_threads_survive_two_of_three(server: PushingServer, echoes: Echoes) -> None:
    answers: Counter[bytes] = Counter()
    enough = threading.Event()
    failures: list[Exception] = []
    with (
        Discovery(**server.place) as discovery,
        for_threads.channel(TARGET, discovery, idempotent=True) as channel,
    ):

        def ask() -> None:
            say = channel.unary_unary("/Echo/Say")
            while not enough.wait(PAUSE_SECONDS):
                try:
                    answers[say(b"x", timeout=SECONDS_MAX).split()[0]] += 1
                except Exception as error:  # noqa: BLE001 - none is to be
                    failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            kill_two(echoes, answers)
        finally:
            enough.set()
            join_all(threads)
    assert failures == []


async def test_calls_of_asyncio_survive_two_of_three(server: PushingServer, echoes: Echoes) -> None:
    answers: Counter[bytes] = Counter()
    enough = asyncio.Event()
    async with (
        AsyncDiscovery(**server.place) as discovery,
        for_asyncio.channel(TARGET, discovery, idempotent=True) as channel,
    ):

        async def ask() -> None:
            say: Any = channel.unary_unary("/Echo/Say")
            while not enough.is_set():
                answers[(await say(b"x", timeout=SECONDS_MAX)).split()[0]] += 1
                await asyncio.sleep(PAUSE_SECONDS)

        asking = [asyncio.create_task(ask()) for _ in range(3)]
        try:
            await asyncio.to_thread(kill_two, echoes, answers)
        finally:
            enough.set()
            await asyncio.gather(*asking)
