"""What is dropped gets no answer from servers that let an application do that."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import hypercorn.asyncio
import pytest
import uvicorn
from hypercorn.config import Config as HypercornConfig
from werkzeug.serving import WSGIRequestHandler as WerkzeugHandler
from werkzeug.serving import make_server as make_werkzeug

from support.dropping_app import asgi_app, dependency_app, wsgi_app
from support.waits import SECONDS, join_all

pytestmark = pytest.mark.e2e
TESTS = Path(__file__).parents[2]
GET = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
Running = Callable[[Path], contextlib.AbstractAsyncContextManager[None]]
POST = b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello"


def ask(path: Path, request: bytes = GET) -> bytes:
    """All that comes until the server ends the connection; nothing when it is reset."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(request)
        said = b""
        with contextlib.suppress(ConnectionError):
            while b"home" not in said and (more := client.recv(65536)):
                said += more
        return said


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def check_dropped(path: Path) -> None:
    assert b" 200 " in ask(path)
    assert [ask(path), ask(path, POST)] == [b"", b""]


async def wait_serving(is_so: Callable[[], bool], task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():
            assert not task.done(), task
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_uvicorn(path: Path, app: Any = None) -> AsyncIterator[None]:
    config = uvicorn.Config(app or asgi_app(), uds=str(path), log_level="critical")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await wait_serving(lambda: server.started and listens(path), task)
        yield
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, SECONDS)


@contextlib.asynccontextmanager
async def running_hypercorn(path: Path) -> AsyncIterator[None]:
    config, end = HypercornConfig(), asyncio.Event()
    config.bind, config.errorlog = [f"unix:{path}"], None
    serving = hypercorn.asyncio.serve(
        asgi_app(),  # type: ignore[arg-type]
        config,
        shutdown_trigger=end.wait,
    )
    task = asyncio.create_task(serving)
    try:
        await wait_serving(lambda: listens(path), task)
        yield
    finally:
        end.set()
        await asyncio.wait_for(task, SECONDS)


@pytest.mark.parametrize("running", [running_uvicorn, running_hypercorn])
async def test_asgi_servers_end_the_connection_through_all_middlewares(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path / "socket"):
        await asyncio.to_thread(check_dropped, tmp_path / "socket")
    # The server takes it for a client that left: nothing for its log of errors.
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_dependency_of_fastapi_ends_the_connection(tmp_path: Path) -> None:
    async with running_uvicorn(tmp_path / "socket", dependency_app()):
        await asyncio.to_thread(check_dropped, tmp_path / "socket")


@contextlib.contextmanager
def running_gunicorn(worker: str, path: Path) -> Iterator[None]:
    app = "asgi_application" if worker == "asgi" else "application"
    command = [sys.executable, "-m", "gunicorn", "-k", worker, "--bind", f"unix:{path}"]
    command += ["--no-control-socket", f"support.dropping_app:{app}"]
    with subprocess.Popen(command, cwd=TESTS, stderr=subprocess.PIPE, text=True) as server:
        try:
            deadline = time.monotonic() + 30
            while not listens(path):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield
        finally:
            server.terminate()
            said = server.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert "[ERROR]" not in said


@pytest.mark.parametrize(
    "worker", ["sync", "gthread", pytest.param("asgi", marks=pytest.mark.soak)]
)
def test_gunicorn_ends_the_connection(worker: str, tmp_path: Path) -> None:
    with running_gunicorn(worker, tmp_path / "socket"):
        check_dropped(tmp_path / "socket")


class QuietWerkzeug(WerkzeugHandler):
    def log(self, *_: object) -> None:
        pass


def test_werkzeugs_server_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = make_werkzeug(f"unix://{path}", 0, wsgi_app(), request_handler=QuietWerkzeug)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    check_dropped(path)
    server.shutdown()
    join_all([thread])
    server.server_close()


class QuietWsgiref(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_wsgi_server_that_shows_no_connection_answers_with_nothing() -> None:
    with make_server("127.0.0.1", 0, wsgi_app(), handler_class=QuietWsgiref) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        answers = []
        for _ in range(2):
            with socket.create_connection(server.server_address[:2], 20) as client:  # type: ignore[arg-type]
                client.sendall(GET)
                answers.append(b"".join(iter(lambda: client.recv(65536), b"")))
        server.shutdown()
        join_all([thread])
    assert answers[0].endswith(b"home")
    assert answers[1].startswith(b"HTTP/1.0 429")
    assert answers[1].endswith(b"\r\n\r\n")
