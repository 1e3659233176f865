from __future__ import annotations

import socket

from moreton.kernel.ports import first_outgoing_port, free_port, is_free


def test_free_port_can_be_bound_and_is_none_of_outgoing_connections() -> None:
    port = free_port()
    assert port < first_outgoing_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)


def test_port_that_was_bound_without_listening_is_not_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        assert not is_free(holder.getsockname()[1])
