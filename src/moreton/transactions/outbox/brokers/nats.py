"""NATS JetStream: a stream per topic, read from a position on by consumers that the server forgets.

Run the server with `sync_interval: always`: by default it answers before a message is on disk, and
a power failure loses two minutes. Source: Jepsen, "NATS 2.12.1", 2025.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from moreton.transactions.failpoints import Failpoint
from moreton.transactions.outbox.brokers.port import FRAMES_MAX, Extent, Frame, Subscription
from moreton.transactions.outbox.errors import BrokerUnavailable, NatsMissing
from moreton.transactions.signal import Signal

try:
    import nats
    import nats.errors
    import nats.js.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription as NatsSubscription
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig
except ImportError as missing:
    raise NatsMissing from missing

STREAM, SUBJECT = "moreton-{}", "moreton.events.{}"
_CONTENT_TYPE = "application/cloudevents-batch+json"
_ANSWER_SECONDS_MAX = 5.0
_CONNECT_SECONDS_MAX = 2
_REASON_BYTES_MAX = 500
# Left to itself, the client tries for ever, and says nothing meanwhile.
CONNECT_MAX = timedelta(seconds=5)
_RECONNECT_SECONDS = 0.1
# A reader that hears neither a message nor this for that many times reads anew.
_HEARTBEAT_SECONDS, _HEARTBEATS_MISSED_MAX = 0.5, 4
# What a reader holds of what the server sent; it reads anew what came above that.
_PENDING_MAX = 16 * FRAMES_MAX

_PUBLISHING, _STORED = Failpoint("broker.nats-publishing"), Failpoint("broker.nats-stored")


class NatsBroker:
    """The JetStream at *servers*, `nats://one:4222,nats://two:4222`."""

    def __init__(
        self,
        servers: str,
        *,
        retain: timedelta,
        replicas: int = 1,
        connect_max: timedelta = CONNECT_MAX,
    ) -> None:
        self._servers = servers.split(",")
        # An address may hold a password.
        self.name = "NATS at " + ", ".join(each.rpartition("@")[2] for each in self._servers)
        self._retain = retain
        self._replicas = replicas
        self._connect_seconds = connect_max.total_seconds()
        self._client: Client | None = None
        self._streams: set[str] = set()

    async def publish(self, topic: str, body: bytes, id: str) -> None:  # noqa: A002 - as the port
        """As `Broker.publish`."""
        client = await self._ready(topic)
        headers = {
            "Nats-Msg-Id": id,
            "Content-Type": _CONTENT_TYPE,
            "Nats-Expected-Stream": STREAM.format(topic),
        }
        _PUBLISHING()
        try:
            # Its `jetstream().publish` does the same, and takes half as long again.
            answer = await client.request(
                SUBJECT.format(topic), body, timeout=_ANSWER_SECONDS_MAX, headers=headers
            )
            _check_stored(answer.data)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._streams.discard(topic)
            raise self._unavailable(error) from error
        _STORED()

    async def subscribe(self, topic: str, after: int) -> Subscription:
        """As `Broker.subscribe`."""
        await self._ready(topic)
        return _Reader(self, topic, after)

    async def extent(self, topic: str) -> Extent:
        """As `Broker.extent`."""
        client = await self._ready(topic)
        try:
            info = await client.jetstream().stream_info(STREAM.format(topic))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._streams.discard(topic)
            raise self._unavailable(error) from error
        return Extent(info.state.first_seq or 1, info.state.last_seq, str(info.created))

    async def follow(
        self, topic: str, after: int, on_message: Callable[[Msg], Awaitable[None]]
    ) -> NatsSubscription:
        """Have *on_message* called with what comes behind *after*, as the server sends it."""
        client = await self._ready(topic)
        inbox = client.new_inbox()
        try:
            found = await client.subscribe(inbox, cb=on_message, pending_msgs_limit=_PENDING_MAX)
            await client.jetstream().add_consumer(
                STREAM.format(topic),
                ConsumerConfig(
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=after + 1,
                    deliver_subject=inbox,
                    ack_policy=AckPolicy.NONE,
                    flow_control=True,
                    idle_heartbeat=_HEARTBEAT_SECONDS,
                    mem_storage=True,
                    num_replicas=1,
                ),
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._streams.discard(topic)
            raise self._unavailable(error) from error
        return found

    async def answer(self, subject: str) -> None:
        """Tell the server that what it sent before was read."""
        if self._client is not None and self._client.is_connected:
            await self._client.publish(subject)

    async def close(self) -> None:
        """As `Broker.close`."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.close()

    async def _ready(self, topic: str) -> Client:
        client = self._client
        if client is None or client.is_closed:
            client = self._client = await self._connect()
        if not client.is_connected:
            # What is published now would be sent some time later, after what we try meanwhile.
            raise BrokerUnavailable(broker=self.name, reason="the connection is lost")
        if topic not in self._streams:
            await self._make_stream(client, topic)
        return client

    async def _connect(self) -> Client:
        client, failures = Client(), [""]

        async def note(error: Exception) -> None:
            failures[0] = str(error)

        try:
            async with asyncio.timeout(self._connect_seconds):
                await client.connect(
                    self._servers,
                    connect_timeout=_CONNECT_SECONDS_MAX,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # it sleeps
                    error_cb=note,
                    disconnected_cb=self._on_disconnected,
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            with contextlib.suppress(Exception):
                await client.close()
            reason = str(error) or failures[0] or type(error).__name__
            raise BrokerUnavailable(broker=self.name, reason=reason) from error
        return client

    async def _on_disconnected(self) -> None:
        self._streams.clear()

    async def _make_stream(self, client: Client, topic: str) -> None:
        name = STREAM.format(topic)
        try:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await client.jetstream().stream_info(name)
                self._streams.add(topic)
                return
            await client.jetstream().add_stream(
                StreamConfig(
                    name=name,
                    subjects=[SUBJECT.format(topic)],
                    retention=RetentionPolicy.LIMITS,
                    max_age=self._retain.total_seconds(),
                    num_replicas=self._replicas,
                )
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error
        self._streams.add(topic)

    def _unavailable(self, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(broker=self.name, reason=str(error) or type(error).__name__)


def _check_stored(answer: bytes) -> None:
    """Raise `nats.errors.Error` unless *answer* gives the place where the message is stored."""
    try:
        said = json.loads(answer)
        stored = int(said["seq"]) > 0 and "error" not in said
    except (ValueError, TypeError, KeyError, RecursionError):
        stored = False
    if not stored:
        raise nats.errors.Error(f"nats: not stored: {answer[:_REASON_BYTES_MAX]!r}")


class _Reader:
    """Reads anew from where it was when the server falls silent or leaves something out.

    Messages are put by as they come: to ask the client for each, as `next_msg`, takes two tasks.
    """

    def __init__(self, broker: NatsBroker, topic: str, after: int) -> None:
        self._broker = broker
        self._topic = topic
        self._after = after
        self._from: NatsSubscription | None = None
        self._came: deque[Msg] = deque()
        self._some = Signal()
        self._heard = 0  # messages of this subscription, which the server counts, too
        self._silent = 0.0

    async def read(self, wait: timedelta) -> Sequence[Frame]:
        await self._follow()
        frames: list[Frame] = []
        if not self._came:
            await self._wait(min(wait.total_seconds(), _HEARTBEAT_SECONDS))
        while self._came and len(frames) < FRAMES_MAX:
            await self._take(self._came.popleft(), frames)
        return frames

    async def _follow(self) -> None:
        if self._from is None:
            came = self._came = deque()
            self._heard, self._silent = 0, 0.0

            async def put_by(message: Msg) -> None:
                # What is left out is missed by its number, and read anew.
                if len(came) < _PENDING_MAX:
                    came.append(message)
                self._some.set()

            self._from = await self._broker.follow(self._topic, self._after, put_by)

    async def _wait(self, seconds: float) -> None:
        self._some.clear()
        if await self._some.wait(seconds):
            self._silent = 0.0
        else:
            await self._on_silence(seconds)

    async def close(self) -> None:
        found, self._from = self._from, None
        self._came.clear()
        if found is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await found.unsubscribe()

    async def _take(self, message: Msg, frames: list[Frame]) -> None:
        headers = message.headers or {}
        if headers.get("Status"):
            stalled = message.reply or headers.get("Nats-Consumer-Stalled")
            if stalled:
                await self._broker.answer(stalled)
            if int(headers.get("Nats-Last-Consumer") or 0) > self._heard:
                await self.close()
            return
        place = message.metadata.sequence
        if place.consumer != self._heard + 1:
            await self.close()
            return
        self._heard += 1
        self._after = place.stream
        frames.append(Frame(place.stream, message.data))

    async def _on_silence(self, seconds: float) -> None:
        self._silent += seconds
        if self._silent > _HEARTBEAT_SECONDS * _HEARTBEATS_MISSED_MAX:
            await self.close()
