"""A Python gRPC client reaches a service by `xds:///NAME`, and follows it when it moves."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moreton.envoy.proxyless import Place, proxyless_snapshot
from moreton.envoy.xds import PROXYLESS, XdsServer
from support.ports import free_port

pytestmark = pytest.mark.e2e
SUPPORT = Path(__file__).parents[1] / "support"
SECONDS_MAX = 20.0


async def line_from(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), SECONDS_MAX)
    return line.decode().strip()


async def ask(client: asyncio.subprocess.Process, text: str) -> str:
    assert client.stdin is not None
    client.stdin.write(f"{text}\n".encode())
    await client.stdin.drain()
    return await line_from(client)


async def start(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def end(*processes: asyncio.subprocess.Process) -> None:
    for process in processes:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, int]]:
    ports = {label: free_port() for label in ("one", "two")}
    running = [
        await start(str(SUPPORT / "grpc_echo.py"), label, str(port))
        for label, port in ports.items()
    ]
    for process in running:
        assert await line_from(process) == "ready"
    yield ports
    await end(*running)


async def test_grpc_client_reaches_a_service_and_follows_it(
    servers: dict[str, int], tmp_path: Path
) -> None:
    server = XdsServer()
    address = f"unix:{tmp_path / 'xds.sock'}"
    await server.start(address)
    server.publish(
        PROXYLESS, proxyless_snapshot({"orders": [Place("127.0.0.1", servers["one"])], "other": []})
    )
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": address,
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "a-client"},
    }
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    script = str(SUPPORT / "grpc_xds_client.py")
    client = await start(script, "orders", GRPC_XDS_BOOTSTRAP=str(path))
    try:
        assert await ask(client, "hello") == "one hello"
        assert [proxy.node for proxy in server.proxies()] == ["a-client"]
        moved = proxyless_snapshot({"orders": [Place("127.0.0.1", servers["two"])], "other": []})
        server.publish(PROXYLESS, moved)
        async with asyncio.timeout(SECONDS_MAX):
            while await ask(client, "again") != "two again":
                pass
    finally:
        await end(client)
        await server.stop()
