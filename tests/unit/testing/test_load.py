from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from moreton.testing.load import LoadReport, Sample, SteadyLoad, _Client

ANSWER = b"HTTP/1.1 200 OK\r\nX-Served-By: a\r\ncontent-length: 2\r\n\r\nok"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], None]


@contextlib.asynccontextmanager
async def server(handle: Handle) -> AsyncIterator[str]:
    """Calls *handle* with the number of each request, counted from 1 over all connections."""
    count = 0
    taken: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        taken.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                count += 1
                handle(reader, writer, count)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/path"
    for writer in taken:
        writer.close()
    await asyncio.sleep(0)


async def load(url: str, count: int) -> LoadReport:
    async with SteadyLoad(url, rate=500, connections=2, timeout_seconds=0.2) as running:
        await asyncio.wait_for(running.wait_requests(count), 10)
    return running.report


async def test_load_counts_answers_by_label() -> None:
    async with server(lambda _, writer, __: writer.write(ANSWER)) as url:
        report = await load(url, 20)
    assert report.requests >= 20
    assert report.failures == report.resets == report.closes == 0
    assert set(report.labels) == {"a"}
    assert 0 < report.percentile(0.5) <= report.percentile(0.99) < 5


async def test_load_reads_chunked_answers() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with server(lambda _, writer, __: writer.write(chunked)) as url:
        report = await load(url, 10)
    assert set(report.outcomes) == {"200"}


async def test_load_counts_a_reset_when_the_connection_ends_under_a_request() -> None:
    def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number == 5:
            writer.close()
        else:
            writer.write(ANSWER)

    async with server(handle) as url:
        report = await load(url, 20)
    assert report.resets == report.failures == 1


async def test_load_counts_a_close_when_the_server_ends_an_idle_connection() -> None:
    def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(ANSWER)
        if number == 5:
            writer.close()

    async with server(handle) as url:
        report = await load(url, 20)
    assert report.closes + report.resets == 1


async def test_load_counts_error_statuses_as_failures() -> None:
    def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(ANSWER if number != 3 else ANSWER.replace(b"200 OK", b"503 No"))

    async with server(handle) as url:
        report = await load(url, 10)
    assert report.outcomes["503"] == report.failures == 1


async def test_load_counts_a_timeout_when_nothing_comes() -> None:
    async with server(lambda *_: None) as url:
        report = await load(url, 2)
    assert set(report.outcomes) == {"timeout"}


async def test_load_counts_refused_connections() -> None:
    async with server(lambda *_: None) as url:
        pass
    report = await load(url, 4)
    assert set(report.outcomes) == {"refused"}
    assert report.resets == report.requests


def test_load_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="plain http://"):
        SteadyLoad("https://127.0.0.1/", rate=1)
    with pytest.raises(ValueError, match="must be positive"):
        SteadyLoad("http://127.0.0.1/", rate=0)


def test_report_ranks_latencies() -> None:
    report = LoadReport()
    for number in range(100):
        report.add(Sample(0.0, number / 1000, "200", ""))
    assert report.percentile(0.5) == 0.05
    assert report.percentile(0.99) == 0.099
    assert LoadReport().percentile(0.5) == 0.0


async def test_end_that_comes_together_with_an_answer_is_an_end() -> None:
    async with server(lambda *_: None) as url:
        host, _, port = url.removeprefix("http://").removesuffix("/path").rpartition(":")
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: _Client(b"x-served-by"), host, int(port))
        asking = asyncio.create_task(client.ask(b"GET / HTTP/1.1\r\n\r\n", 10))
        await asyncio.sleep(0)
        client.data_received(ANSWER)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        client.close()
