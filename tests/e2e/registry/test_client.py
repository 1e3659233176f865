from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from datetime import timedelta
from typing import Any

import pytest

from e2e.registry.world import TOKEN, Programs, RegistryServer
from moreton.registry import aregister, register
from moreton.registry.core.heartbeat import Phase
from support.waits import wait_until

pytestmark = pytest.mark.e2e

SECONDS = timedelta(seconds=1)


def place(server: RegistryServer) -> dict[str, Any]:
    return {"api": server.url, "token": TOKEN, "leave_on_sigterm": False}


def python(programs: Programs, text: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, programs.script(text), *arguments)


def test_two_lines_register_a_program_until_it_ends(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import moreton.registry
            registration = moreton.registry.register("catalogue", port=8001, ttl="60s")
            import pathlib, time
            while not pathlib.Path("enough").exists():
                time.sleep(0.01)
            """,
        )
    )
    (found,) = server.wait_instances(1)
    assert (found["address"], found["port"]) == ("127.0.0.1", 8001)
    assert found["id"].startswith("catalogue-")
    (programs.folder / "enough").touch()
    assert program.wait() == 0
    assert server.instances() == [], "it deregistered at exit: its lease had a minute left"


def test_sigterm_deregisters_first_and_then_does_what_it_did_before(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import signal, sys, threading, moreton.registry
            def told(*_):
                print("told", registration.phase, flush=True)
                sys.exit(5)
            signal.signal(signal.SIGTERM, told)
            registration = moreton.registry.register("catalogue", port=8001, ttl="60s")
            threading.Event().wait()
            """,
        )
    )
    server.wait_instances(1)
    program.process.terminate()
    assert program.wait() == 5
    assert "told left" in program.said()
    assert server.instances() == []


def test_sigterm_ends_a_program_that_has_no_handler(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import threading, moreton.registry
            moreton.registry.register("catalogue", port=8001, ttl="60s")
            threading.Event().wait()
            """,
        )
    )
    server.wait_instances(1)
    program.process.terminate()
    assert program.wait() == -signal.SIGTERM
    assert server.instances() == []


def test_sigterm_is_not_held_up_when_the_registry_is_gone(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import threading, moreton.registry
            moreton.registry.register("catalogue", port=8001, ttl="60s")
            threading.Event().wait()
            """,
        )
    )
    server.wait_instances(1)
    server.stop()
    asked = time.monotonic()
    program.process.terminate()
    assert program.wait() == -signal.SIGTERM
    assert time.monotonic() - asked < 4
    server.start()


def test_uvicorn_application_leaves_before_its_port_closes(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import contextlib, socket, uvicorn, moreton.registry
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            @contextlib.asynccontextmanager
            async def lifespan(app):
                async with moreton.registry.aregister("catalogue", port=port, ttl="60s") as mine:
                    print("entered", mine.phase, flush=True)
                    yield
                    print("leaving", mine.phase, flush=True)
            from fastapi import FastAPI
            app = FastAPI(lifespan=lifespan)
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
            """,
        )
    )
    (found,) = server.wait_instances(1)
    program.wait_said("entered registered")
    program.process.terminate()
    server.wait_instances(0)
    with socket.create_connection(("127.0.0.1", found["port"]), timeout=5):
        pass
    program.wait()
    assert "leaving left" in program.said(), "it had left when uvicorn began to shut down"


def test_child_that_was_forked_does_not_end_its_parents_registration(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        *python(
            programs,
            """
            import os, sys, threading, moreton.registry
            registration = moreton.registry.register("catalogue", port=8001, ttl="60s")
            assert registration.wait_registered(__import__("datetime").timedelta(seconds=20))
            if (child := os.fork()) == 0:
                registration.close()
                sys.exit(0)
            os.waitpid(child, 0)
            if (child := os.fork()) == 0:
                os.kill(os.getpid(), 15)
            print("child", os.waitpid(child, 0)[1], flush=True)
            threading.Event().wait()
            """,
        )
    )
    program.wait_said("child 15")
    assert len(server.instances()) == 1
    assert not [each for each in server.requests if each.startswith("DELETE")]


def test_registry_is_found_beside_the_configuration_upwards(
    programs: Programs, server: RegistryServer
) -> None:
    state = programs.folder / ".moreton"
    state.mkdir()
    (state / "controlplane.json").write_text(json.dumps({"pid": 1, "api": server.url}))
    (state / "token").write_text(f"{TOKEN}\n")
    below = programs.folder / "a" / "b"
    below.mkdir(parents=True)
    programs.start(
        *python(
            programs,
            """
            import os, sys, threading
            os.chdir(sys.argv[1])
            import moreton.registry
            moreton.registry.register("catalogue", port=8001)
            threading.Event().wait()
            """,
            str(below),
        ),
        MORETON_API="",
        MORETON_TOKEN="",
    )
    server.wait_instances(1)


async def test_coroutine_registers_and_leaves_when_the_block_ends(server: RegistryServer) -> None:
    async with aregister("catalogue", port=8001, **place(server)) as registration:
        assert registration.phase is Phase.REGISTERED, "entering waits for the first answer"
        assert [each["id"] for each in server.instances()] == [registration.id]
    assert server.instances() == []


async def test_coroutine_registers_when_awaited(server: RegistryServer) -> None:
    registration = await aregister("catalogue", port=8001, id="mine", **place(server))
    assert [each["id"] for each in server.instances()] == ["mine"]
    await registration.aclose()
    await registration.aclose()
    assert server.instances() == []


async def test_coroutine_that_is_cancelled_while_it_enters_leaves_nothing_behind(
    server: RegistryServer,
) -> None:
    pending = aregister("catalogue", port=8001, ttl="60s", **place(server))

    async def enter() -> None:
        async with pending:
            pytest.fail("it was cancelled before")

    entering = asyncio.create_task(enter())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    wait_until(lambda: pending._registration.phase is Phase.LEFT, "the end of what was begun")
    assert server.instances() == []


async def test_blocked_event_loop_does_not_end_the_lease(server: RegistryServer) -> None:
    async with aregister("catalogue", port=8001, ttl="1s", **place(server)):
        place_of_lease = next(
            f"PUT /v1/services/catalogue/instances/{each['id']}/lease"
            for each in server.instances()
        )
        server.wait_requests(place_of_lease, 8)  # blocks this loop for two ttls and more
        assert len(server.instances()) == 1
        assert len([each for each in server.requests if each.startswith("POST")]) == 1


def test_registration_works_as_a_context_of_a_thread(server: RegistryServer) -> None:
    with register("catalogue", port=8001, address="10.1.2.3", **place(server)) as registration:
        assert registration.wait_registered(20 * SECONDS)
        assert server.instances()[0]["address"] == "10.1.2.3"
    assert registration.phase is Phase.LEFT
    assert server.instances() == []


def test_registration_outlives_an_outage(server: RegistryServer) -> None:
    with register("catalogue", port=8001, ttl="1s", **place(server)) as registration:
        (before,) = server.wait_instances(1)
        server.stop()
        waiting = [Phase.UNCERTAIN, Phase.JOINING]
        wait_until(lambda: registration.phase in waiting, "the phase")
        assert "does not answer" in registration.trouble
        server.start()
        assert server.wait_instances(1) == [before]
        wait_until(lambda: registration.phase is Phase.REGISTERED, "the phase")
        assert registration.trouble == ""


def test_service_neither_fails_nor_waits_when_nobody_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        registration = register("catalogue", port=8001, api=url, leave_on_sigterm=False)
        assert time.monotonic() - began < 1
        wait_until(lambda: "no answer within 2s" in registration.trouble, "the phase")
        registration.close()
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b'HTTP/1.1 201 Created\r\ncontent-length: 15\r\n\r\n{"ttl": "never"}',
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1, 2, 3]",
        b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
        b"",
    ],
)
def test_service_is_not_disturbed_by_something_else_at_the_address(answer: bytes) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        registration = register("catalogue", port=8001, api=url, leave_on_sigterm=False)
        connection, _ = other.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)
        wait_until(lambda: registration.trouble != "", "the phase")
        assert registration.phase is Phase.JOINING
    registration.close()


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://127.0.0.1:99999", "::", "http://[::1"]
)
def test_address_that_is_none_is_said_and_does_no_harm(url: str) -> None:
    registration = register("catalogue", port=8001, api=url, leave_on_sigterm=False)
    wait_until(lambda: registration.trouble != "", "the phase")
    registration.close()
    assert registration.phase is Phase.LEFT


def test_registration_goes_on_at_another_node_when_its_own_is_away(server: RegistryServer) -> None:
    other = RegistryServer()
    other.start()
    try:
        nodes = {**place(server), "api": f"{server.url},{other.url}"}
        with register("catalogue", port=8001, ttl="1s", **nodes) as registration:
            assert registration.wait_registered(30 * SECONDS)
            assert other.instances() == []
            server.stop()
            other.wait_instances(1)  # it knows nothing of the first one's leases
            assert registration.wait_registered(30 * SECONDS)
        assert other.instances() == [], "it left where it was"
    finally:
        other.stop()
        server.start()
