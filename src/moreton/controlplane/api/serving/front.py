"""A server's connections: what is plain is answered at once, all else by the application.

What a web framework does for a request costs ten times what a renewal, a look-up or a change of
weights is. So a *desk* reads and answers the plainest form of these; whatever differs in anything
goes to the application, which answers the same. Between requests such a connection keeps a few
hundred bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from moreton.controlplane.core.plain import Part

# What a client sends before it was answered, beyond which it is not read further.
_HELD_BYTES_MAX = 64 * 1024
_SWEEP_SECONDS = 15.0

Said: TypeAlias = tuple[bytes, ...] | Coroutine[Any, Any, bytes] | Part


class Desk(Protocol):
    """Answers what it can in place of the application."""

    def answer(self, data: bytes) -> Said | None:
        """The whole response to *data*, or what will have it; `Part.MORE` asks for what follows.

        `None` leaves *data* to the application; it is not one whole request, or not a plain one.
        """
        ...


def connections(desk: Desk) -> Callable[..., asyncio.Protocol]:
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
            lobby = _Lobby(desk, config, server_state, app_state)
        return _Front(lobby)

    return connection


class _Lobby:
    """What the connections of one server share."""

    def __init__(
        self,
        desk: Desk,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        self.desk = desk
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

    def run(self, front: _Front, answering: Coroutine[Any, Any, bytes]) -> None:
        """Answer *front*, as a task that the server waits for when it stops."""
        task = self.loop.create_task(front.answer(answering))
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def _close_idle(self) -> None:
        """One timer for all: thousands of connections would set thousands anew each second."""
        self._sweep = None
        before = self.loop.time() - self._config.timeout_keep_alive
        for front in [each for each in self.fronts if each.is_idle_since(before)]:
            front.hang_up()
        if self.fronts:
            self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._close_idle)


class _Application(HttpToolsProtocol):
    """uvicorn's protocol, which knows whether it is between two messages, and tells *front*."""

    is_between = True
    front: _Front | None = None
    began = 0.0  # the newest message, by the loop's clock

    def on_message_begin(self) -> None:
        self.is_between = False
        self.began = self.loop.time()
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
        return self.is_between and self._has_answered and not self.pipeline

    def waits_since(self, moment: float) -> bool:
        """Whether it has answered, and a message that began before *moment* has not ended yet."""
        return not self.is_between and self._has_answered and self.began < moment

    @property
    def _has_answered(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        return cycle is None or cycle.response_complete

    def let_go(self) -> None:
        """It is not the connection's any more."""
        self.front = None
        self.connections.discard(self)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()


class _Front(asyncio.Protocol):
    """One connection; the application comes in when it is needed, and goes when it is not."""

    __slots__ = (
        "_application",
        "_held",
        "_is_busy",
        "_is_ending",
        "_is_full",
        "_lobby",
        "_transport",
        "_used",
    )

    def __init__(self, lobby: _Lobby) -> None:
        self._lobby = lobby
        self._transport: asyncio.Transport = None  # type: ignore[assignment] # until it is made
        self._application: _Application | None = None
        self._is_busy = self._is_ending = self._is_full = False
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
            if self._held:
                data, self._held = self._held + data, b""
            found = self._lobby.desk.answer(data)
            if found is not None:
                self._answer(found, data)
                return
            application = self._application = self._lobby.application()
            application.front = self
            application.connection_made(self._transport)
        application.data_received(data)
        self.settle()

    def _answer(self, found: Said, data: bytes) -> None:
        if isinstance(found, Part):
            self._held = data
        elif not isinstance(found, tuple):
            self._is_busy = True
            self._lobby.run(self, found)
        elif not self._transport.is_closing():
            self._used = self._lobby.loop.time()
            self._transport.writelines(found)
            if self._is_ending:
                self._transport.close()

    def settle(self) -> None:
        """The application goes when it has nothing to do: it keeps ten times what this does."""
        if self._application is None or not self._application.is_idle:
            return
        self._application.let_go()
        self._application = None
        self._used = self._lobby.loop.time()
        if self._is_ending:
            self._transport.close()
        elif self._is_full:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        if self._application is not None:
            self._application.eof_received()

    def pause_writing(self) -> None:
        """Who does not take answers is asked for no more requests."""
        self._is_full = True
        if self._application is not None:
            self._application.pause_writing()
        else:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._application is not None:
            self._application.resume_writing()
        elif len(self._held) < _HELD_BYTES_MAX:
            self._transport.resume_reading()

    def shutdown(self) -> None:
        """End when what is under way was answered."""
        self._is_ending = True
        if not self._is_busy and self._application is None:
            self._transport.close()

    def hang_up(self) -> None:
        """End now: nothing is under way."""
        if self._transport.get_write_buffer_size():
            # To close would be to wait, without end, for a client that takes no answers.
            self._transport.abort()
        else:
            self._transport.close()

    def is_idle_since(self, moment: float) -> bool:
        """Whether nothing was asked here after *moment*, or only a part of something."""
        if self._application is not None:
            return self._application.waits_since(moment)
        return not self._is_busy and self._used < moment

    async def answer(self, answering: Coroutine[Any, Any, bytes]) -> None:
        """Send what *answering* gives, then go on."""
        said = await answering
        self._is_busy = False
        self._used = self._lobby.loop.time()
        if self._transport.is_closing():
            return
        self._transport.write(said)
        if self._is_ending:
            self._transport.close()
        elif self._held:
            held, self._held = self._held, b""
            if len(held) >= _HELD_BYTES_MAX and not self._is_full:
                self._transport.resume_reading()
            self.data_received(held)

    def _hold(self, data: bytes) -> None:
        was, self._held = len(self._held), self._held + data
        if was < _HELD_BYTES_MAX <= len(self._held):
            self._transport.pause_reading()
