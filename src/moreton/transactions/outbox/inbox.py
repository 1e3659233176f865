"""What one service does about the events of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from moreton.kernel.arguments import check_kind
from moreton.transactions.outbox.core.deciding import Interest, OnDead, Patience
from moreton.transactions.outbox.core.event import Event
from moreton.transactions.outbox.errors import AlreadyHandled

Handler: TypeAlias = Callable[[Event, Any], object]
ManyHandler: TypeAlias = Callable[[Sequence[Event], Any], object]
HandlerT = TypeVar("HandlerT", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler; *many*: it takes all events of its type that follow each other in a batch."""

    call: Callable[..., object]
    many: bool


class Inbox:
    """The handlers of *consumer*, which is the name that others see and the tables keep.

    A handler gets the event and what to write with, in the transaction that also says that the
    event was handled: what it writes there happens once, however often the event arrives. What it
    does elsewhere may happen again. It must not commit. One that is `async` runs on a loop of the
    thread that handles::

        inbox = Inbox("payments")

        @inbox.on("order.placed")
        def charge(event: Event, connection: Connection) -> None:
            connection.execute("INSERT INTO charges …")

        inbox.ignore("order.viewed")

    An event that fails is set aside and tried again by *patience*; others go on. When it is dead,
    those behind it of the same key do as *on_dead* says.
    """

    def __init__(
        self, consumer: str, *, patience: Patience | None = None, on_dead: OnDead = OnDead.PARK
    ) -> None:
        check_kind("consumer", consumer, str, "the name of a service")
        if not consumer or not consumer.isprintable():
            raise ValueError(f"consumer is {consumer!r}: give the name of a service")
        check_kind("on_dead", on_dead, OnDead)
        self.consumer = consumer
        self.patience = patience or Patience()
        self.on_dead = on_dead
        self._handlers: dict[str, Registered] = {}
        self._ignored: set[str] = set()

    def on(self, *types: str, many: bool = False) -> Callable[[HandlerT], HandlerT]:
        """Handle events of *types*; a handler of *many* gets a list of events of one type.

        Raises `AlreadyHandled`.
        """
        for each in types:
            check_kind("type", each, str, "the type of an event, as @inbox.on('order.placed')")
        if not types or not all(types):
            raise ValueError(f"types are {types!r}: give types of events, as @inbox.on('x.y')")

        def register(handler: HandlerT) -> HandlerT:
            for each in types:
                if each in self._handlers or each in self._ignored:
                    raise AlreadyHandled(type_=each)
                self._handlers[each] = Registered(handler, many)
            return handler

        return register

    def ignore(self, *types: str) -> None:
        """Pass over events of *types*; `*` passes over all that have no handler.

        What is neither handled nor ignored is kept as a dead letter, so that nothing is lost by a
        handler that was forgotten. Raises `AlreadyHandled`.
        """
        for each in types:
            if each in self._handlers:
                raise AlreadyHandled(type_=each)
            self._ignored.add(each)

    @property
    def interest(self) -> Interest:
        """What concerns it."""
        return Interest(self._handlers.keys(), self._ignored)

    def handler(self, type_: str) -> Registered:
        """The handler of *type_*, which is in `interest`."""
        return self._handlers[type_]
