from __future__ import annotations

import os
import socket

import pytest

from moreton.controlplane.errors import AddressUnusable, PortInUse
from moreton.controlplane.ports import bind, check_free, is_loopback


def test_port_in_use_names_its_holder() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortInUse, match=rf"127\.0\.0\.1:{port} is in use by process {os.getpid()} \(.*"
        ) as caught:
            bind("127.0.0.1", port, what="the API")
    assert "the API cannot listen there" in str(caught.value)
    check_free("127.0.0.1", port, what="the API")


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressUnusable, match=r"cannot listen on 192\.0\.2\.1:80"):
        bind("192.0.2.1", 80, what="gateway public")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("shop.example", False),
    ],
)
def test_loopback_is_recognised(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected
