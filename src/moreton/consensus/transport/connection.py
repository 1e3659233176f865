"""One TCP connection between two nodes: a handshake frame by frame, then items in both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from moreton.consensus.transport.core.framing import Frames, frame, item, items
from moreton.consensus.transport.core.handshake import HANDSHAKE_FRAME_MAX
from moreton.consensus.transport.core.sealing import Opener, Sealer
from moreton.consensus.transport.errors import BadFrame
from moreton.consensus.transport.settings import TransportSettings

PING, PONG = 128, 129
_PING, _PONG = item(PING), item(PONG)
# A batch of items is cut into frames of about so many bytes, each sealed and checked at once.
_BATCH_BYTES = 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_SILENT_TICKS_MAX = 4
_HANDSHAKE_FRAMES_MAX = 4

OnItem = Callable[[int, bytes, int, int], None]


class Closed(ConnectionError):
    """The other side hung up, or we did; it says why."""


class Connection(asyncio.Protocol):
    """Everything posted in one turn of the loop leaves in one write.

    *on_made* is called with a connection that was accepted. Until `begin`, frames are read one
    by one with `next_frame`; after it, each item goes to a callback.
    """

    def __init__(
        self,
        settings: TransportSettings,
        on_made: Callable[[Connection], None] | None = None,
    ) -> None:
        self.reason = ""
        self._fault: BadFrame | None = None
        self._settings = settings
        self._on_made = on_made
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._frames = Frames(HANDSHAKE_FRAME_MAX)
        self._early: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._on_item: OnItem | None = None
        self._opener, self._sealer = Opener(None), Sealer(None)
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flush_due = self._paused = self._pings = self._closing = False
        self._silent_ticks = 0
        self._tick_due: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()

    # --- the handshake ------------------------------------------------------------------------

    async def next_frame(self) -> bytes:
        """The next frame of the handshake. Raises `Closed`, or `BadFrame` if there was one."""
        while not self._early:
            if self._fault is not None:
                raise self._fault
            if self.is_closed:
                raise Closed(self.reason)
            self._news.clear()
            await self._news.wait()
        return self._early.popleft()

    def say(self, body: bytes) -> None:
        """Send *body* as a frame of the handshake."""
        if self._transport is not None:
            self._transport.write(frame(body))

    def begin(self, opener: Opener, sealer: Sealer, on_item: OnItem, *, pings: bool) -> None:
        """The handshake is over; who *pings* sees to it that something is heard."""
        settings = self._settings
        content = max(settings.message_bytes_max, settings.question_bytes_max, settings.chunk_bytes)
        self._frames.limit = content + 2 * _BATCH_BYTES
        self._opener, self._sealer, self._on_item = opener, sealer, on_item
        self._pings = pings
        self._tick_later()
        try:
            while self._early:
                self._take(self._early.popleft())
        except BadFrame as error:
            self.abort(str(error))

    # --- items --------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will come or go."""
        return self._gone.is_set()

    @property
    def is_begun(self) -> bool:
        """Whether the handshake is over."""
        return self._on_item is not None

    @property
    def queued_bytes(self) -> int:
        """What was posted and has not left this process."""
        waiting = self._transport.get_write_buffer_size() if self._transport else 0
        return self._out_bytes + waiting

    @property
    def queued_items(self) -> int:
        """How many items wait for room."""
        return len(self._out)

    def post(self, item: bytes) -> None:
        """Send *item* with everything else of this turn of the loop, when there is room."""
        if self._closing:
            return  # it would wait for ever
        self._out.append(item)
        self._out_bytes += len(item)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    async def drain(self) -> None:
        """Return when most of what was posted has left. Raises `Closed`."""
        await asyncio.sleep(0)
        await self._room.wait()
        if self.is_closed:
            raise Closed(self.reason)

    async def is_alive(self) -> bool:
        """Whether the other side still answers; within four ping intervals."""
        self._silent_ticks = 1
        self.post(_PING)
        deadline = self._settings.ping_interval.total_seconds() * _SILENT_TICKS_MAX
        self._news.clear()
        try:
            async with asyncio.timeout(deadline):
                while self._silent_ticks and not self.is_closed:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return not self.is_closed

    async def wait_closed(self) -> str:
        """Why it ended, once it has."""
        await self._gone.wait()
        return self.reason

    def close(self) -> None:
        """Send what is posted, then hang up; at once where the other side does not take it soon."""
        self._flush()
        self._closing = True
        if self._transport is None or self.is_closed:
            return
        self._transport.close()
        # Who has vanished, or does not read, would keep a connection that nobody watches any more.
        if self._tick_due is not None:
            self._tick_due.cancel()
        seconds = self._settings.ping_interval.total_seconds() * _SILENT_TICKS_MAX
        self._tick_due = self._loop.call_later(seconds, self.abort, "it did not take the last")

    async def finish(self, seconds: float) -> None:
        """As `close`, and return when it has ended; what takes longer than *seconds* is lost."""
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        self.abort("closing")

    def abort(self, reason: str) -> None:
        """Hang up at once."""
        self.reason = self.reason or reason
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def told(self, name: str) -> Any:
        """What the transport knows: `peername`, `peercert`."""
        return self._transport.get_extra_info(name) if self._transport is not None else None

    # --- what asyncio calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        # Those of uvloop are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        """Cut, check and hand on."""
        try:
            for body in self._frames.feed(data):
                self._take(body)
        except BadFrame as error:
            self._fault = error
            self.abort(str(error))

    def pause_writing(self) -> None:
        """The other side does not read as fast as we write."""
        self._paused = True
        self._room.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.reason = self.reason or (str(exc) if exc else "the connection was closed")
        self._closing = True
        self._out.clear()
        self._out_bytes = 0
        if self._tick_due is not None:
            self._tick_due.cancel()
        self._gone.set()
        self._news.set()
        self._room.set()

    # --- inside -------------------------------------------------------------------------------

    def _take(self, body: bytes) -> None:
        if self._closing:
            return
        on_item = self._on_item
        if on_item is None:
            self._early.append(body)
            if len(self._early) > _HANDSHAKE_FRAMES_MAX:
                raise BadFrame("more frames than a handshake has")
            self._news.set()
            return
        body = self._opener.open(body)
        if self._silent_ticks:
            self._silent_ticks = 0
            self._news.set()
        for kind, start, end in items(body):
            if kind == PING:
                self.post(_PONG)
            elif kind != PONG:
                on_item(kind, body, start, end)

    def _flush(self) -> None:
        self._flush_due = False
        while self._out and not self._paused and not self._closing:
            assert self._transport is not None, "items are posted after the handshake"
            self._transport.write(self._sealer.seal(self._take_batch()))
        if not self._paused:
            self._room.set()
        elif self._out_bytes > 2 * self._settings.queue_bytes_max:
            self.abort("the other side asks and does not read")

    def _take_batch(self) -> list[bytes]:
        if self._out_bytes <= _BATCH_BYTES:
            batch, self._out, self._out_bytes = self._out, [], 0
            return batch
        size = count = 0
        for one in self._out:
            size += len(one)
            count += 1
            if size >= _BATCH_BYTES:
                break
        batch, self._out = self._out[:count], self._out[count:]
        self._out_bytes -= size
        return batch

    def _tick_later(self) -> None:
        seconds = self._settings.ping_interval.total_seconds()
        self._tick_due = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        # Ticks are counted, not seconds: a process that was stopped itself accuses nobody.
        if self._closing:
            return
        self._silent_ticks += 1
        if self._silent_ticks > _SILENT_TICKS_MAX:
            self.abort("nothing was heard any more")
            return
        if self._pings:
            self.post(_PING)
        self._tick_later()
