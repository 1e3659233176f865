"""Keys, sessions and lock delays in the store, as the API reads and follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from moreton.kernel.time import Clock
from moreton.registry.consul.core.indexes import Indexes
from moreton.registry.consul.core.keys import entries, sessions
from moreton.registry.consul.core.keys.entries import Entry
from moreton.registry.consul.core.keys.sessions import Session
from moreton.registry.consul.following.mirror import Mirror
from moreton.registry.consul.following.topics import Topic, Waiters
from moreton.store import Store, WatchBatch

PREFIX = b"/moreton/consul/"
KEYS = PREFIX + b"kv/"
SESSIONS = PREFIX + b"sessions/"
_DELAYS = PREFIX + b"delays/"
_ALL_SESSIONS = Topic("sessions")


def entry_key(key: str) -> bytes:
    """Where the entry of *key* lies, and those below it."""
    return KEYS + key.encode()


def session_key(session_id: str) -> bytes:
    """Where a session lies."""
    return SESSIONS + session_id.encode(errors="replace")


def delay_key(key: str) -> bytes:
    """Where it lies that the lock of *key* may not be taken yet."""
    return _DELAYS + key.encode()


class ConsulState:
    """What lies below `PREFIX`; *on_session_end* is called when a session is no more."""

    def __init__(self, store: Store, waiters: Waiters, *, clock: Clock) -> None:
        self.indexes: Indexes[Topic] = Indexes()
        self.on_session_end: Callable[[], None] = lambda: None
        self.mirror = Mirror(store, PREFIX, notice=self._notice, clock=clock)
        self._store = store
        self._waiters = waiters
        self._held: dict[str, set[str]] = {}  # session id -> the keys that it holds
        self._bound: dict[str, Session] = {}  # the sessions that hang on checks of services

    def entry(self, key: str) -> Entry | None:
        """What lies under *key*."""
        found = self.mirror.get(entry_key(key))
        return None if found is None else entries.decode(key, found)

    def tree(self, prefix: str) -> list[Entry]:
        """What lies under the keys that begin with *prefix*, in order."""
        found = (
            entries.decode(kv.key[len(KEYS) :].decode(errors="replace"), kv)
            for kv in self.mirror.range(entry_key(prefix))
        )
        return [each for each in found if each is not None]

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with *prefix*, in order."""
        return [
            kv.key[len(KEYS) :].decode(errors="replace")
            for kv in self.mirror.range(entry_key(prefix))
        ]

    def session(self, session_id: str) -> Session | None:
        """The session, while it lives."""
        found = self.mirror.get(session_key(session_id))
        return None if found is None else sessions.decode(session_id, found)

    def lives(self, session_id: str) -> bool:
        """Whether the session is there."""
        return self.mirror.get(session_key(session_id)) is not None

    def bound_sessions(self) -> tuple[Session, ...]:
        """Those that end when a check of a service is critical."""
        return tuple(self._bound.values())

    def sessions(self) -> Iterator[Session]:
        """Every session that lives, in order of ids."""
        for kv in self.mirror.range(SESSIONS):
            found = sessions.decode(kv.key[len(SESSIONS) :].decode(errors="replace"), kv)
            if found is not None:
                yield found

    def held_by(self, session_id: str) -> frozenset[str]:
        """The keys that name *session_id* as their holder, be it alive or not."""
        return frozenset(self._held.get(session_id, ()))

    def holders(self) -> frozenset[str]:
        """The ids of the sessions that hold something."""
        return frozenset(self._held)

    def index(self, topic: Topic) -> int:
        """The index of *topic*: of a key that is there, that of its last change."""
        if topic.kind == "key":
            found = self.mirror.get(entry_key(topic.name))
            if found is not None:
                return found.mod_revision
        return self.indexes.of(topic)

    def adopt(self, topic: Topic, index: int) -> None:
        """A client was given *index* for *topic*, maybe by another node."""
        self.indexes.adopt(topic, index, newest=self._store.statistics().revision)

    def _notice(self, batch: WatchBatch) -> None:
        self.indexes.advance(batch.revision)
        for event in batch.events:
            key = event.kv.key
            is_there = event.kind == "put"
            if key.startswith(KEYS):
                name = key[len(KEYS) :].decode(errors="replace")
                old = None if event.prev is None else entries.decode(name, event.prev)
                new = entries.decode(name, event.kv) if is_there else None
                self._note_holder(name, old, new)
                self._tell(_topics_of(name), batch.revision)
            elif key.startswith(SESSIONS):
                name = key[len(SESSIONS) :].decode(errors="replace")
                self._tell((Topic("session", name), _ALL_SESSIONS), batch.revision)
                new_session = sessions.decode(name, event.kv) if is_there else None
                self._bound.pop(name, None)
                if new_session is not None and new_session.service_checks:
                    self._bound[name] = new_session
                if not is_there:
                    self.on_session_end()

    def _note_holder(self, key: str, old: Entry | None, new: Entry | None) -> None:
        before, after = old.session if old else "", new.session if new else ""
        if before == after:
            return
        if before:
            keys = self._held.get(before, set())
            keys.discard(key)
            if not keys:
                self._held.pop(before, None)
        if after:
            self._held.setdefault(after, set()).add(key)

    def _tell(self, topics: tuple[Topic, ...], revision: int) -> None:
        """Of the topics that nobody ever asked for there is nothing to remember."""
        concerned = [each for each in topics if each in self.indexes or each in self._waiters]
        for each in concerned:
            self.indexes.touch(each, revision)
        self._waiters.wake(concerned)


def _topics_of(key: str) -> tuple[Topic, ...]:
    prefixes = (Topic("prefix", key[:length]) for length in range(len(key) + 1))
    return (Topic("key", key), *prefixes)
