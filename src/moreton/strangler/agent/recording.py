"""What the request at hand has done so far; wherever effects are seen, they are noted here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from moreton.strangler.agent.core.effects import EXAMPLE_CHARS_MAX, WHAT_CHARS_MAX, Effect, Kind

EFFECTS_MAX = 50  # of one request; the others are counted as one
WRITES_MAX = 200  # that a request's writes are kept of, to be compared
_MORE = Effect(Kind.SQL, "and more")
_LOCK = threading.Lock()
_now: ContextVar[Recording | None] = ContextVar("moreton_recording", default=None)
_NOBODY = object()
_explained: ContextVar[object] = ContextVar("moreton_explained", default=None)


class Recording:
    """The effects of one request, each once, with an example of it.

    Once *late* is there, the request was judged already: what is noted from then on goes there.
    With *keep*, each write is kept with its values, in `writes`. A *dry* one is taken back: what is
    done on the connections `taken_back`, by `undo`; what cannot be, is not done, and is `blocked`.
    """

    __slots__ = (
        "blocked",
        "dry",
        "effects",
        "keep",
        "late",
        "lock",
        "pins",
        "taken_back",
        "told",
        "undo",
        "writes",
    )

    def __init__(self, *, keep: bool = False, dry: bool = False) -> None:
        self.effects: dict[Effect, str] = {}
        self.late: Callable[[Effect, str], None] | None = None
        self.keep = keep or dry
        self.dry = dry
        self.writes: list[dict[str, Any]] = []
        self.blocked: list[str] = []
        self.taken_back: dict[int, Any] = {}  # by its id, so that nobody else gets it meanwhile
        self.lock = _LOCK
        self.pins: dict[int, Any] = {}  # connections of SQLAlchemy, by the id of their engine
        self.told = False  # whether a statement is under way that was noted already
        self.undo: list[Callable[[], None]] = []

    def note(self, kind: Kind, what: str, example: str = "") -> None:
        """The request did *what*; *example* is redacted already."""
        effect = Effect(kind, what[:WHAT_CHARS_MAX])
        if effect in self.effects:
            return
        if len(self.effects) >= EFFECTS_MAX:
            effect = _MORE
        self.effects[effect] = example[:EXAMPLE_CHARS_MAX]
        if self.late is not None:
            self.late(effect, self.effects[effect])

    def write(self, what: str, values: Any = None) -> None:
        """One write with its values, where they are kept; those beyond `WRITES_MAX` are not."""
        if self.keep and len(self.writes) <= WRITES_MAX:
            self.writes.append({"what": what, "values": values})


def current() -> Recording | None:
    """The recording of the request at hand; none outside of requests."""
    return _now.get()


def begin(recording: Recording | None) -> Token[Recording | None]:
    """What is done in this context from now on belongs to *recording*; ended by `end`."""
    return _now.set(recording)


def end(token: Token[Recording | None]) -> None:
    """As it was before `begin`."""
    _now.reset(token)


@contextmanager
def into(recording: Recording | None) -> Iterator[None]:
    """What is done within belongs to *recording*."""
    token = _now.set(recording)
    try:
        yield
    finally:
        _now.reset(token)


@contextmanager
def explained() -> Iterator[None]:
    """Within, connections and files belong to something that was noted as a whole."""
    token = _explained.set(_now.get() or _NOBODY)
    try:
        yield
    finally:
        _explained.reset(token)


def is_explained() -> bool:
    """Whether whoever is above has noted what is done now."""
    return _explained.get() is (_now.get() or _NOBODY)
