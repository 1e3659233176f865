"""What a proxy finds that asks before the control plane has loaded."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from moreton.controlplane.life.proxy import waiting_at


def asking(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(path))
    return client


def test_who_asks_waits_and_is_hung_up_on_when_there_is_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    with waiting_at(path) as waiting, asking(path) as client:
        client.sendall(b"PRI")
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(5)
        waiting.close()
        with contextlib.suppress(ConnectionResetError):  # what it had said was not read
            assert not client.recv(1)


def test_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with waiting_at(path), asking(path):
        pass


def test_where_no_socket_can_be_nobody_is_kept_waiting(tmp_path: Path) -> None:
    with waiting_at(tmp_path / ("x" * 200)):
        assert not list(tmp_path.iterdir())
