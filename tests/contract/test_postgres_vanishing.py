"""Connections to a PostgreSQL give up on a host that vanished, at both ends of the line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from threading import Lock
from typing import Any

import psycopg
import pytest

from moreton.transactions.databases.postgres import Connections, patient
from moreton.transactions.outbox.places.postgres import PostgresPlace
from moreton.transactions.saga.ledgers.postgres_link import Link
from support.ports import free_port
from support.postgres_server import PostgresServer

_OWN = "&keepalives_idle=33&tcp_user_timeout=7000&options=-ctcp_keepalives_idle%3D44"


class TcpPostgres(PostgresServer):
    """One that other hosts could reach."""

    port = ""

    def url(self, database: str = "postgres") -> str:
        return f"{super().url(database)}&port={self.port}"

    def tcp_url(self) -> str:
        return f"postgresql://postgres@127.0.0.1/postgres?port={self.port}"


@pytest.fixture(scope="module")
def server() -> Iterator[TcpPostgres]:
    port = str(free_port())
    found = TcpPostgres(settings={"listen_addresses": "127.0.0.1", "port": port})
    found.port = port
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(found.folder, ignore_errors=True)


def patience(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> list[int]:
    """Seconds until it asks, between questions, how many; milliseconds for what was sent."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        return [line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]


def of_the_server(connection: psycopg.Connection[Any]) -> list[str]:
    names = ("idle", "interval", "count")
    shown = [f"current_setting('tcp_keepalives_{each}')" for each in names]
    sql = f"SELECT {', '.join(shown)}, current_setting('tcp_user_timeout')"
    return list(connection.execute(sql.encode()).fetchone() or ())


@contextlib.contextmanager
def connections(url: str) -> Iterator[list[psycopg.Connection[Any]]]:
    """One of each kind that we make."""
    with contextlib.ExitStack() as stack:
        link = Link(url, Lock())
        stack.callback(link.close)
        pool = Connections(url)
        stack.callback(pool.close)
        place = PostgresPlace(url)
        stack.callback(place.close)
        pooled = pool.take()
        stack.callback(pooled.close)
        with link.held() as held, place.begin() as work:
            yield [held, pooled, work.given]


def test_every_connection_gives_up_on_a_host_that_vanished(server: TcpPostgres) -> None:
    with connections(server.tcp_url()) as found:
        for one in found:
            assert patience(one) == [10, 5, 3, 20_000]
            assert of_the_server(one) == ["10", "5", "3", "20000"]


def test_what_a_url_says_of_it_goes_before(server: TcpPostgres) -> None:
    with connections(server.tcp_url() + _OWN) as found:
        for one in found:
            assert patience(one) == [33, 5, 3, 7_000]
            assert of_the_server(one)[0] == "44"


async def test_who_hears_bells_gives_up_too(server: TcpPostgres) -> None:
    place = PostgresPlace(server.tcp_url())
    hearing = asyncio.create_task(place.hear())
    try:
        while place._listening is None:
            await asyncio.sleep(0.01)
        assert patience(place._listening) == [10, 5, 3, 20_000]
    finally:
        hearing.cancel()
        await place.stop_hearing()


def test_a_socket_of_this_machine_needs_none_of_it(server: TcpPostgres) -> None:
    with connections(server.url()) as found:
        for one in found:
            assert one.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_url_may_have_a_longer_time_to_connect() -> None:
    assert "connect_timeout=5" in patient("postgresql://h/d")
    assert "connect_timeout=17" in patient("postgresql://h/d?connect_timeout=17")
