"""Instances of a service, found by its name. One goes, then the registry: calls go on."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx

from moreton.registry import register
from moreton.registry.discovery import Discovery
from moreton.registry.discovery.clients.httpx import DiscoveryTransport

PATIENCE = timedelta(seconds=30)
logging.basicConfig(stream=sys.stdout, format="(%(message).60s …)")


def serve(name: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def ask(client: httpx.Client, times: int = 200) -> str:
    answers = Counter(client.get("http://orders.moreton/").text for _ in range(times))
    return ", ".join(f"{name} {count} times" for name, count in sorted(answers.items()))


with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
folder = Path(tempfile.mkdtemp())
(folder / "moreton.yaml").write_text(f'version: 1\ncontrolplane: {{api: "127.0.0.1:{port}"}}\n')
control_plane = subprocess.Popen(
    [sys.executable, "-m", "moreton.cli.main", "up"],
    cwd=folder,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
os.chdir(folder)  # where the control plane is, is found from here on
servers = {name: serve(name) for name in ("anna", "ben", "cleo")}
registrations = [
    register("orders", port=server.server_address[1], id=name, weight=2 if name == "cleo" else 1)
    for name, server in servers.items()
]
try:
    for registration in registrations:
        assert registration.wait_registered(PATIENCE)
    with Discovery() as discovery, httpx.Client(transport=DiscoveryTransport(discovery)) as client:
        print("all are there:", ask(client))
        servers["anna"].shutdown()
        servers["anna"].server_close()
        print("anna's port is closed:", ask(client))
        control_plane.terminate()
        control_plane.wait()
        print("no registry:", ask(client))
    for registration in registrations:
        registration.close_nowait()
finally:
    control_plane.terminate()
    control_plane.wait()
