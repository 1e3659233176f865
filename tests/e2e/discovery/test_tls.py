"""Over TLS an instance has to show a certificate for the name of its service, not its address."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import httpx2
import pytest
import requests

from e2e.discovery.world import PushingServer, instance
from moreton.gateway.core.model import TlsFiles
from moreton.registry.discovery import AsyncDiscovery, Discovery
from moreton.registry.discovery.clients import grpc as for_grpc
from moreton.registry.discovery.clients import grpc_aio as for_grpc_aio
from moreton.registry.discovery.clients import httpx as for_httpx
from moreton.registry.discovery.clients import httpx2 as for_httpx2
from moreton.registry.discovery.clients.aiohttp import DiscoveryMiddleware
from moreton.registry.discovery.clients.requests import DiscoveryAdapter
from support.certificates import make_certificate
from support.waits import join_all

pytestmark = pytest.mark.e2e

URL = "https://orders.moreton/"
SECONDS_MAX = 20
Place = dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"well")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving_https(files: TlsFiles) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # Shaking hands is the handlers' part: a client that says nothing would hold up the server.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of those who refuse
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            join_all([thread])


def ask_httpx(place: Place, trusted: str, library: Any = httpx, module: Any = for_httpx) -> int:
    inner = library.HTTPTransport(verify=ssl.create_default_context(cafile=trusted))
    with (
        Discovery(**place) as discovery,
        library.Client(transport=module.DiscoveryTransport(discovery, inner=inner)) as client,
    ):
        return int(client.get(URL).status_code)


def ask_httpx2(place: Place, trusted: str) -> int:
    return ask_httpx(place, trusted, httpx2, for_httpx2)


def ask_requests(place: Place, trusted: str) -> int:
    with Discovery(**place) as discovery, requests.Session() as session:
        session.mount("https://", DiscoveryAdapter(discovery))
        return session.get(URL, verify=trusted).status_code


def ask_aiohttp(place: Place, trusted: str) -> int:
    async def asking() -> int:
        async with AsyncDiscovery(**place) as discovery:
            middlewares = (DiscoveryMiddleware(discovery),)
            context = ssl.create_default_context(cafile=trusted)
            async with (
                aiohttp.ClientSession(middlewares=middlewares) as session,
                session.get(URL, ssl=context) as answer,
            ):
                await answer.read()
                return answer.status

    return asyncio.run(asking())


@pytest.mark.parametrize("ask", [ask_httpx, ask_httpx2, ask_requests, ask_aiohttp])
def test_certificate_has_to_be_for_the_name_of_the_service(
    ask: Callable[[Place, str], int], server: PushingServer, tmp_path: Path
) -> None:
    for host in ("orders.moreton", "payments.moreton"):
        folder = tmp_path / host
        folder.mkdir()
        files = make_certificate(folder, host)
        with serving_https(files) as port:
            server.clear()
            server.put(instance("a", port))
            if host == "orders.moreton":
                assert ask(server.place, files.certificate) == 200
            else:
                with pytest.raises(Exception, match=r"(?i)certificate|hostname"):
                    ask(server.place, files.certificate)


@contextlib.contextmanager
def serving_grpc(files: TlsFiles) -> Iterator[int]:
    key, certificate = Path(files.key).read_bytes(), Path(files.certificate).read_bytes()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        methods = {"Say": grpc.unary_unary_rpc_method_handler(lambda request, _: request)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", methods),))
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield int(port)
        finally:
            assert server.stop(None).wait(30)


def say(place: Place, credentials: Any) -> str:
    with (
        Discovery(**place) as discovery,
        for_grpc.channel("moreton:///orders", discovery, credentials=credentials) as channel,
    ):
        # As stubs that protoc makes have it.
        call = channel.unary_unary(
            "/Echo/Say",
            request_serializer=str.encode,
            response_deserializer=bytes.decode,
            _registered_method=True,
        )
        return str(call("well", timeout=SECONDS_MAX))


def say_aio(place: Place, credentials: Any) -> str:
    async def saying() -> str:
        async with (
            AsyncDiscovery(**place) as discovery,
            for_grpc_aio.channel(
                "moreton:///orders", discovery, credentials=credentials
            ) as channel,
        ):
            call = channel.unary_unary(
                "/Echo/Say",
                request_serializer=str.encode,
                response_deserializer=bytes.decode,
                _registered_method=True,
            )
            return str(await call("well", timeout=SECONDS_MAX))

    return asyncio.run(saying())


@pytest.mark.parametrize("call", [say, say_aio])
def test_grpc_knows_the_instance_by_the_name_of_the_service(
    call: Callable[[Place, Any], str], server: PushingServer, tmp_path: Path
) -> None:
    files = make_certificate(tmp_path, "orders.moreton")
    credentials = grpc.ssl_channel_credentials(Path(files.certificate).read_bytes())
    with serving_grpc(files) as port:
        server.put(instance("a", port))
        assert call(server.place, credentials) == "well"
