"""What arrives on connections that have proved themselves, by the channel of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from moreton.consensus.core.messages import NodeId
from moreton.consensus.ports import Arrivals
from moreton.consensus.transport.connection import Connection, OnItem
from moreton.consensus.transport.core.encoding import decode_message
from moreton.consensus.transport.core.handshake import Channel, Hello
from moreton.consensus.transport.errors import QuestionFailed
from moreton.consensus.transport.link import ignore_item
from moreton.consensus.transport.questions import Answer, Desk
from moreton.consensus.transport.settings import TransportSettings
from moreton.consensus.transport.snapshots import Receipt


class Reception:
    """The receiving half of node *node*; *arrivals* tells whom to tell, once it has started."""

    def __init__(
        self,
        node: NodeId,
        arrivals: Callable[[], Arrivals],
        *,
        settings: TransportSettings,
        guests: Callable[[bytes], Awaitable[bytes]] | None,
    ) -> None:
        self._node = node
        self._arrivals = arrivals
        self._settings = settings
        self._guests = guests
        self._desks: set[Desk] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, hello: Hello, connection: Connection) -> OnItem:
        """What shall get the items of *connection*."""
        node = hello.party.node
        match hello.channel:
            case Channel.MESSAGES:
                return partial(self._receive_message, node)
            case Channel.QUESTIONS:
                return self._open_desk(node, connection, self._arrivals().question)
            case Channel.GUEST:
                return self._open_desk(node, connection, self._answer_guest)
            case Channel.SNAPSHOT:
                return self._open_receipt(node, connection)
            case Channel.PROBE:
                return ignore_item

    async def close(self) -> None:
        """Answer and hand over nothing more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(desk.close() for desk in list(self._desks)))

    def _receive_message(self, node: NodeId, kind: int, body: bytes, start: int, end: int) -> None:
        message = decode_message(kind, body, start, end, source=node, target=self._node)
        self._arrivals().message(message, None)

    def _open_desk(self, node: NodeId, connection: Connection, answer: Answer) -> OnItem:
        desk = Desk(node, connection, answer, settings=self._settings)
        self._desks.add(desk)
        self._spawn(self._close_desk(desk, connection))
        return desk.receive

    def _open_receipt(self, node: NodeId, connection: Connection) -> OnItem:
        arrived = self._arrivals().message
        receipt = Receipt(node, self._node, connection, arrived, settings=self._settings)
        self._spawn(self._close_receipt(receipt, connection))
        return receipt.receive

    async def _answer_guest(self, _: NodeId, question: bytes) -> bytes:
        if self._guests is None:
            raise QuestionFailed(target=self._node, reason="it answers none but members")
        return await self._guests(question)

    async def _close_desk(self, desk: Desk, connection: Connection) -> None:
        await connection.wait_closed()
        self._desks.discard(desk)
        await desk.close()

    async def _close_receipt(self, receipt: Receipt, connection: Connection) -> None:
        await connection.wait_closed()
        receipt.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
