"""Reads that are answered without an HTTP parser, held to what the application answers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from moreton.controlplane.api.serving.server import serving as serving_http
from unit.registry.consul.asking import TOKEN, Consul

PATIENCE_SECONDS = 20


def request(target: str, *lines: str, token: str = TOKEN) -> bytes:
    head = ["host: x", *([f"X-Consul-Token: {token}"] if token else []), *lines]
    return "\r\n".join([f"GET {target} HTTP/1.1", *head, "", ""]).encode()


def quick(consul: Consul, data: bytes) -> tuple[dict[str, str], bytes] | None:
    """Headers and body, if it was answered."""
    found = consul.api.quick.answer(data)
    if found is None:
        return None
    head, body = found
    status, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["content-length"] == str(len(body))
    return headers, body


@pytest.mark.parametrize(
    "target",
    [
        "/v1/health/service/orders",
        "/v1/health/service/orders?passing=1",
        "/v1/health/service/orders?passing&tag=b",
        "/v1/health/service/nobody",
        "/v1/health/service/orders?stale",
        "/v1/health/service/orders?cached&dc=dc1",
        "/v1/health/service/or%64ers?filter=Service.Port%20%3D%3D%208000",
        "/v1/health/checks/orders",
        "/v1/health/state/any",
        "/v1/health/node/moreton",
        "/v1/catalog/service/orders",
        "/v1/catalog/services",
        "/v1/catalog/nodes",
        "/v1/catalog/node/moreton",
        "/v1/catalog/node-services/moreton",
    ],
)
async def test_answer_is_that_of_the_application_and_follows_changes(
    consul: Consul, target: str
) -> None:
    await consul.register(Tags=["a"])
    for tags in (["b"], ["b", "c"], []):
        await consul.register(ID="two", Tags=tags, Check={"TTL": "60s", "Status": "passing"})
        await consul.api.settle()
        told = await consul.get(target.replace("%64", "d"))  # ASGI servers decode paths
        for _ in range(2):
            assert quick(consul, request(target)) == (told.headers, told.body)


@pytest.mark.parametrize(
    "data",
    [
        request("/v1/health/service/orders", token=""),
        request("/v1/health/service/orders", token="wrong"),
        request("/v1/health/service/orders?index=1"),
        request("/v1/health/service/orders?index=nonsense"),
        request("/v1/health/service/orders?consistent"),
        request("/v1/health/service/orders?pretty"),
        request("/v1/health/service/orders?dc=elsewhere"),
        request("/v1/health/service/orders?filter=nonsense"),
        request("/v1/health/service/"),
        request("/v1/health/nothing"),
        request("/v1/kv/some"),
        request("/v1/catalog/datacenters"),
        request("/v1/health/service/orders", "content-length: 3") + b"abc",
        request("/v1/health/service/orders", "content-length: 0"),
        request("/v1/health/service/orders", "transfer-encoding: chunked"),
        request("/v1/health/service/orders", "connection: close"),
        request("/v1/health/service/orders", "upgrade: h2c"),
        request("/v1/health/service/orders", "x: a\x0bb"),
        request("/v1/health/service/orders", "x : a"),
        request("/v1/health/service/orders", " folded"),
        request("/v1/health/service/orders", "x: " + "a" * 3000),
        request("/v1/health/service/orders") * 2,
        request("/v1/health/service/orders")[:-2],
        request("/v1/health/service/orders").replace(b"1.1", b"1.0"),
        request("/v1/health/service/orders#part"),
        request("/v1/health/service/orders").replace(b"GET", b"HEAD"),
        b"",
    ],
)
async def test_what_is_not_plain_is_left_to_the_application(consul: Consul, data: bytes) -> None:
    await consul.register()
    await consul.api.settle()
    assert consul.api.quick.answer(data) is None


async def test_memory_of_what_was_asked_is_bounded(consul: Consul) -> None:
    await consul.register()
    await consul.api.settle()
    for number in range(3000):
        assert quick(consul, request("/v1/health/service/orders", f"x-request-id: {number}"))
    assert len(consul.api.quick) <= 1024


@pytest.mark.slow
async def test_who_takes_no_answers_is_asked_for_no_more_requests(consul: Consul) -> None:
    for number in range(40):
        await consul.register(ID=f"i{number}", Tags=["x" * 200])
    await consul.api.settle()
    asked = request("/v1/health/service/orders")
    found = quick(consul, asked)
    assert found is not None
    with socket.create_server(("127.0.0.1", 0)) as bound, socket.socket() as client:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.connect(bound.getsockname())
        async with serving_http(consul.api.app, bound, desk=consul.api.quick):
            reader, writer = await asyncio.open_connection(sock=client, limit=1024)
            async with asyncio.timeout(PATIENCE_SECONDS):
                sent = 0
                # Until what lies between the two is full: nobody reads the answers.
                while writer.transport.get_write_buffer_size() == 0:
                    writer.write(asked)
                    sent += 1
                    await asyncio.sleep(0)
                for _ in range(sent):
                    head = await _head(reader)
                    size = int(head.split("content-length: ")[1].split("\r\n")[0])
                    assert await reader.readexactly(size) == found[1]
            writer.close()


async def _head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()
