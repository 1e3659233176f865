"""The key-value store: what lies under a key, and what each verb does to it.

Verbs are carried out on a picture of the keys that they name; what they write is then put into the
store in one transaction, on condition that the picture still holds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from moreton.store.core.model import KeyValue

# Consul's default of `kv_max_value_size`, and its limit on operations of a transaction.
VALUE_BYTES_MAX = 512 * 1024
OPERATIONS_MAX = 128
KEY_CHARS_MAX = 512
FLAGS_MAX = (1 << 64) - 1
PENDING = -1


@dataclass(frozen=True, slots=True)
class OnEnd:
    """What becomes of a locked key when its session ends, and how long nobody may lock it then.

    It is written with the entry: when it is needed the session is gone. *delay* is nanoseconds.
    """

    deletes: bool = False
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies under *key*; *session* holds it locked, *lock_index* counts how often it was."""

    key: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    on_end: OnEnd = OnEnd()
    create_index: int = 0
    modify_index: int = 0

    def says_the_same_as(self, other: Entry | None) -> bool:
        """Whether nothing would change if one took the other's place."""
        return other is not None and self == replace(
            other, create_index=self.create_index, modify_index=self.modify_index
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a transaction; *index* is what `cas` and `check-index` compare with."""

    verb: str
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


@dataclass(slots=True)
class Picture:
    """The keys as they were read, and as the operations before have left them.

    *sessions* are those that live, of the ones that operations name; *delayed* the keys whose
    lock may not be taken yet. What was written and is not in the store has the index `PENDING`.
    """

    entries: dict[str, Entry]
    sessions: Mapping[str, OnEnd] = field(default_factory=dict)
    delayed: frozenset[str] = frozenset()
    written: dict[str, Entry | None] = field(default_factory=dict)

    def get(self, key: str) -> Entry | None:
        """What lies under *key*."""
        return self.written[key] if key in self.written else self.entries.get(key)

    def tree(self, prefix: str) -> list[Entry]:
        """What lies under the keys that begin with *prefix*, in order."""
        names = {key for key in (*self.entries, *self.written) if key.startswith(prefix)}
        found = (self.get(key) for key in sorted(names, key=str.encode))
        return [each for each in found if each is not None]

    def put(self, entry: Entry) -> Entry:
        """Set a key; what lies there is left alone when it is the same."""
        old = self.get(entry.key)
        if old is not None and old.says_the_same_as(entry):
            return old
        known = self.entries.get(entry.key)
        created = PENDING if known is None else known.create_index
        new = replace(entry, create_index=created, modify_index=PENDING)
        self.written[entry.key] = new
        return new

    def delete(self, key: str) -> None:
        """Remove a key; harmless without one."""
        if self.get(key) is not None:
            self.written[key] = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An operation that cannot be, and so nothing of the transaction is.

    *is_mistake*: it could never be, whatever the others do.
    """

    position: int
    what: str
    is_mistake: bool = False


class _Cannot(Exception):
    is_mistake = False


class _Never(_Cannot):
    is_mistake = True


Results: TypeAlias = list[tuple[Entry, bool]]


def run(
    operations: Sequence[Operation], picture: Picture
) -> tuple[list[tuple[Entry, bool]], list[Failed]]:
    """Carry out *operations* in order: what they answer, each with whether its value is shown.

    When some cannot be, all of those are told, and the picture is worth nothing.
    """
    results: list[tuple[Entry, bool]] = []
    failed: list[Failed] = []
    for position, operation in enumerate(operations):
        verb = _VERBS.get(operation.verb)
        try:
            if verb is None:
                raise _Never(f'unknown KV verb "{operation.verb}"')
            results.extend(verb(operation, picture))
        except _Cannot as error:
            failed.append(Failed(position, str(error), error.is_mistake))
    return results, failed


def is_tree(operation: Operation) -> bool:
    """Whether *operation* is about every key with a prefix."""
    return operation.verb in {"get-tree", "delete-tree"}


def is_write(operation: Operation) -> bool:
    """Whether *operation* may change something."""
    return operation.verb in _WRITES


def _set(operation: Operation, picture: Picture) -> Results:
    old = picture.get(operation.key)
    entry = Entry(
        operation.key,
        operation.value,
        operation.flags,
        session=old.session if old else "",
        lock_index=old.lock_index if old else 0,
        on_end=old.on_end if old else OnEnd(),
    )
    return [(picture.put(entry), False)]


def _cas(operation: Operation, picture: Picture) -> Results:
    old = picture.get(operation.key)
    if operation.index != (old.modify_index if old else 0):
        raise _Cannot(f'failed to set key "{operation.key}", index is stale')
    return _set(operation, picture)


def _lock(operation: Operation, picture: Picture) -> Results:
    if not operation.session:
        raise _Never("missing session")
    if operation.session not in picture.sessions:
        raise _Never(f'invalid session "{operation.session}"')
    old = picture.get(operation.key)
    holder = old.session if old else ""
    if holder not in {"", operation.session}:
        raise _Cannot(f'failed to lock key "{operation.key}", lock is already held')
    if holder == "" and operation.key in picture.delayed:
        raise _Cannot(f'failed to lock key "{operation.key}" due to lock delay')
    count = old.lock_index if old else 0
    entry = Entry(
        operation.key,
        operation.value,
        operation.flags,
        session=operation.session,
        lock_index=count if holder else count + 1,
        on_end=picture.sessions[operation.session],
    )
    return [(picture.put(entry), False)]


def _unlock(operation: Operation, picture: Picture) -> Results:
    if not operation.session:
        raise _Never("missing session")
    old = picture.get(operation.key)
    if old is None or old.session != operation.session:
        raise _Cannot(
            f'failed to unlock key "{operation.key}", lock isn\'t held, or is held by another '
            "session"
        )
    entry = Entry(
        operation.key, operation.value, operation.flags, session="", lock_index=old.lock_index
    )
    return [(picture.put(entry), False)]


def released(entry: Entry) -> Entry | None:
    """The entry once its session has ended; `None`: it goes with it."""
    return None if entry.on_end.deletes else replace(entry, session="", on_end=OnEnd())


def settled(entry: Entry, revision: int) -> Entry:
    """The entry once it was written at *revision*."""
    if entry.modify_index != PENDING:
        return entry
    created = revision if entry.create_index == PENDING else entry.create_index
    return replace(entry, create_index=created, modify_index=revision)


def _get(operation: Operation, picture: Picture) -> Results:
    return [(_existing(operation, picture, f'key "{operation.key}" doesn\'t exist'), True)]


def _get_or_empty(operation: Operation, picture: Picture) -> Results:
    return [(picture.get(operation.key) or Entry(operation.key), True)]


def _get_tree(operation: Operation, picture: Picture) -> Results:
    return [(each, True) for each in picture.tree(operation.key)]


def _check_index(operation: Operation, picture: Picture) -> Results:
    key = operation.key
    found = _existing(operation, picture, f'failed to check index, key "{key}" doesn\'t exist')
    if found.modify_index != operation.index:
        raise _Cannot(
            f'failed index check for key "{key}", current modify index {found.modify_index} != '
            f"{operation.index}"
        )
    return [(found, False)]


def _check_session(operation: Operation, picture: Picture) -> Results:
    key = operation.key
    found = _existing(operation, picture, f'failed to check session, key "{key}" doesn\'t exist')
    if found.session != operation.session:
        raise _Cannot(
            f'failed session check for key "{key}", current session "{found.session}" != '
            f'"{operation.session}"'
        )
    return [(found, False)]


def _check_not_exists(operation: Operation, picture: Picture) -> Results:
    if picture.get(operation.key) is not None:
        raise _Cannot(f'key "{operation.key}" exists')
    return []


def _delete(operation: Operation, picture: Picture) -> Results:
    picture.delete(operation.key)
    return []


def _delete_tree(operation: Operation, picture: Picture) -> Results:
    for each in picture.tree(operation.key):
        picture.delete(each.key)
    return []


def _delete_cas(operation: Operation, picture: Picture) -> Results:
    old = picture.get(operation.key)
    if old is not None and old.modify_index != operation.index:
        raise _Cannot(f'failed to delete key "{operation.key}", index is stale')
    return _delete(operation, picture)


def _existing(operation: Operation, picture: Picture, otherwise: str) -> Entry:
    found = picture.get(operation.key)
    if found is None:
        raise _Cannot(otherwise)
    return found


_VERBS: Mapping[str, Callable[[Operation, Picture], Results]] = {
    "set": _set,
    "cas": _cas,
    "lock": _lock,
    "unlock": _unlock,
    "get": _get,
    "get-or-empty": _get_or_empty,
    "get-tree": _get_tree,
    "check-index": _check_index,
    "check-session": _check_session,
    "check-not-exists": _check_not_exists,
    "delete": _delete,
    "delete-tree": _delete_tree,
    "delete-cas": _delete_cas,
}
_WRITES = frozenset({"set", "cas", "lock", "unlock", "delete", "delete-tree", "delete-cas"})


def encode(entry: Entry) -> bytes:
    """The value in the store: a line about the entry, then what the client put."""
    about = {
        "flags": entry.flags,
        "session": entry.session,
        "locks": entry.lock_index,
        "deletes": entry.on_end.deletes,
        "delay": entry.on_end.delay,
    }
    line = json.dumps({name: each for name, each in about.items() if each}, sort_keys=True)
    return line.encode() + b"\n" + entry.value


def decode(key: str, kv: KeyValue) -> Entry | None:
    """The entry that `encode` wrote; `None` for what no version of ours wrote."""
    line, newline, value = kv.value.partition(b"\n")
    try:
        about = json.loads(line)
        if not newline:
            return None
        return Entry(
            key,
            value,
            flags=int(about.get("flags", 0)),
            session=str(about.get("session", "")),
            lock_index=int(about.get("locks", 0)),
            on_end=OnEnd(bool(about.get("deletes", False)), int(about.get("delay", 0))),
            create_index=kv.create_revision,
            modify_index=kv.mod_revision,
        )
    except (ValueError, TypeError, AttributeError):
        return None


def to_document(entry: Entry, *, with_value: bool = True) -> dict[str, Any]:
    """The entry as the API shows it."""
    value = base64.b64encode(entry.value).decode() if with_value and entry.value else None
    document = {
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": value,
    }
    if entry.session:
        document["Session"] = entry.session
    return {**document, "CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index}


def level(keys: Iterable[str], prefix: str, separator: str) -> list[str]:
    """*keys*, which are in order, cut behind the first *separator* after *prefix*; each once."""
    if not separator:
        return list(keys)
    found: dict[str, None] = {}
    for key in keys:
        end = key.find(separator, len(prefix))
        found[key if end < 0 else key[: end + len(separator)]] = None
    return list(found)
