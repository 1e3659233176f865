"""The API's connections: renewals are answered at once, all else by the application.

What a web framework does for a request costs ten times what a renewal is. So the plainest form of a
renewal is read and answered before it; whatever differs in anything goes to the application, which
answers the same. Between requests such a connection keeps a few hundred bytes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias, cast

from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from moreton.controlplane.core.renewals import RenewalReader
from moreton.controlplane.problems import fault_response
from moreton.kernel.errors import MoretonError
from moreton.kernel.quantities import format_duration

Renew: TypeAlias = Callable[[str, str], Awaitable[timedelta]]
Refuse: TypeAlias = Callable[[MoretonError], Response]

# What a client sends before it was answered, beyond which it is not read further.
_HELD_BYTES_MAX = 64 * 1024
_SWEEP_SECONDS = 15.0
# Answers by ttl, of which there are few.
_ANSWERS_MAX = 1024


class Renewals:
    """How renewals are answered: *renew* carries one out, *refuse* puts an error into words."""

    def __init__(self, *, token: str, renew: Renew, refuse: Refuse) -> None:
        expected = f"Bearer {token}".encode()
        self.reader = RenewalReader(lambda given: secrets.compare_digest(given, expected))
        self._renew = renew
        self._refuse = refuse
        self._answers: dict[timedelta, bytes] = {}

    async def answer(self, service: str, instance_id: str) -> bytes:
        """The whole response to a renewal."""
        try:
            ttl = await self._renew(service, instance_id)
        except MoretonError as error:
            return _encoded(self._refuse(error))
        except Exception as error:  # noqa: BLE001 - as the application's own handler
            return _encoded(fault_response(f"renewal of {service}/{instance_id}", error))
        found = self._answers.get(ttl)
        if found is None:
            found = self._remember(ttl)
        return found

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What one server of uvicorn makes for each connection."""
        lobby: _Lobby | None = None

        def connection(
            *,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> asyncio.Protocol:
            del _loop  # the running one
            nonlocal lobby
            if lobby is None:
                lobby = _Lobby(self, config, server_state, app_state)
            return _Front(lobby)

        return connection

    def _remember(self, ttl: timedelta) -> bytes:
        if len(self._answers) >= _ANSWERS_MAX:
            self._answers.clear()
        body = json.dumps({"ttl": format_duration(ttl)}, separators=(",", ":")).encode()
        found = self._answers[ttl] = _encoded(Response(body, media_type="application/json"))
        return found


class _Lobby:
    """What the connections of one server share."""

    def __init__(
        self,
        renewals: Renewals,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        self.renewals = renewals
        self.loop = asyncio.get_running_loop()
        self.fronts: set[_Front] = set()
        self.state = state
        self._config = config
        self._app_state = app_state
        self._sweep: asyncio.TimerHandle | None = None

    def enter(self, front: _Front) -> None:
        self.fronts.add(front)
        # uvicorn asks these to shut down, and waits for them to go.
        self.state.connections.add(cast("Any", front))
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._close_idle)

    def leave(self, front: _Front) -> None:
        self.fronts.discard(front)
        self.state.connections.discard(cast("Any", front))

    def application(self) -> _Application:
        return _Application(self._config, self.state, self._app_state, self.loop)

    def run(self, front: _Front, service: str, instance_id: str) -> None:
        """Answer *front*, as a task that the server waits for when it stops."""
        task = self.loop.create_task(front.answer(service, instance_id))
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def _close_idle(self) -> None:
        """One timer for all: thousands of connections would set thousands anew each second."""
        self._sweep = None
        before = self.loop.time() - self._config.timeout_keep_alive
        for front in [each for each in self.fronts if each.is_idle_since(before)]:
            front.shutdown()
        if self.fronts:
            self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._close_idle)


class _Application(HttpToolsProtocol):
    """uvicorn's protocol, which knows whether it is between two messages, and tells *front*."""

    is_between = True
    front: _Front | None = None

    def on_message_begin(self) -> None:
        self.is_between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.is_between = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.front is not None:
            self.front.settle()

    @property
    def is_idle(self) -> bool:
        """Whether everything that came was answered, to its last byte."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        answered = cycle is None or cycle.response_complete
        return self.is_between and answered and not self.pipeline

    def let_go(self) -> None:
        """It is not the connection's any more."""
        self.front = None
        self.connections.discard(self)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()


class _Front(asyncio.Protocol):
    """One connection; the application comes in when it is needed, and goes when it is not."""

    __slots__ = ("_application", "_held", "_is_busy", "_is_ending", "_lobby", "_transport", "_used")

    def __init__(self, lobby: _Lobby) -> None:
        self._lobby = lobby
        self._transport: asyncio.Transport = None  # type: ignore[assignment] # until it is made
        self._application: _Application | None = None
        self._is_busy = self._is_ending = False
        self._held = b""
        self._used = lobby.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._lobby.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lobby.leave(self)
        if self._application is not None:
            self._application.connection_lost(exc)
            self._application = None

    def data_received(self, data: bytes) -> None:
        if self._is_busy:
            self._hold(data)
            return
        application = self._application
        if application is None:
            asked = self._lobby.renewals.reader.read(data)
            if asked is not None:
                self._is_busy = True
                self._lobby.run(self, *asked)
                return
            application = self._application = self._lobby.application()
            application.front = self
            application.connection_made(self._transport)
        application.data_received(data)
        self.settle()

    def settle(self) -> None:
        """The application goes when it has nothing to do: it keeps ten times what this does."""
        if self._application is None or not self._application.is_idle:
            return
        self._application.let_go()
        self._application = None
        self._used = self._lobby.loop.time()
        if self._is_ending:
            self._transport.close()

    def eof_received(self) -> None:
        if self._application is not None:
            self._application.eof_received()

    def pause_writing(self) -> None:
        if self._application is not None:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        if self._application is not None:
            self._application.resume_writing()

    def shutdown(self) -> None:
        """End when what is under way was answered."""
        self._is_ending = True
        if not self._is_busy and self._application is None:
            self._transport.close()

    def is_idle_since(self, moment: float) -> bool:
        """Whether nothing was asked here after *moment*; of the application it knows nothing."""
        return self._application is None and not self._is_busy and self._used < moment

    async def answer(self, service: str, instance_id: str) -> None:
        """Carry out the renewal that was read, then go on."""
        said = await self._lobby.renewals.answer(service, instance_id)
        self._is_busy = False
        self._used = self._lobby.loop.time()
        if self._transport.is_closing():
            return
        self._transport.write(said)
        if self._is_ending:
            self._transport.close()
        elif self._held:
            held, self._held = self._held, b""
            if len(held) >= _HELD_BYTES_MAX:
                self._transport.resume_reading()
            self.data_received(held)

    def _hold(self, data: bytes) -> None:
        was, self._held = len(self._held), self._held + data
        if was < _HELD_BYTES_MAX <= len(self._held):
            self._transport.pause_reading()


def _encoded(response: Response) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in response.raw_headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])
