"""The state machine of simulated clusters: registers, and clients that are served once.

A request may get into the log twice: a message that passes it on is doubled. So the state holds
the last request of each client, and does none again (Ongaro 2014, section 6.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from moreton.consensus.core.messages import Entry, EntryKind

Operation: TypeAlias = Literal["read", "write", "cas"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks; *client* and *serial* name it. Values are numbers, 0 for none yet."""

    client: int
    serial: int
    operation: Operation
    key: int
    value: int = 0
    expected: int = 0

    def encode(self) -> bytes:
        """As the data of an entry."""
        words = (self.client, self.serial, self.operation, self.key, self.value, self.expected)
        return " ".join(map(str, words)).encode()


class Contents(NamedTuple):
    """A state as snapshots hold it; *digest* is of everything that led to it."""

    applied: int
    digest: int
    values: dict[int, int]
    served: dict[int, int]


EMPTY = Contents(0, 0, {}, {})


class Registers:
    """Registers by key. Entries are applied in order, each once."""

    def __init__(self, contents: Contents = EMPTY) -> None:
        self.applied, self.digest, values, served = contents
        self._values = dict(values)
        self._served = dict(served)  # client: its last serial

    def read(self, key: int) -> int | None:
        """The value of *key*; `None` before the first write."""
        return self._values.get(key)

    def apply(self, entry: Entry) -> tuple[tuple[int, int], Any] | None:
        """Apply *entry*: whose request it was, and the answer; `None` when it was none."""
        assert entry.index == self.applied + 1, f"{entry.index} applied after {self.applied}"
        self.applied = entry.index
        self.digest = hash((self.digest, entry.index, entry.data))
        if entry.kind is not EntryKind.DATA:
            return None
        client, serial, operation, *numbers = entry.data.decode().split()
        key, value, expected = map(int, numbers)
        name = (int(client), int(serial))
        if name[1] <= self._served.get(name[0], 0):
            return None
        self._served[name[0]] = name[1]
        exchanges = operation == "write" or self._values.get(key, 0) == expected
        if exchanges:
            self._values[key] = value
        return name, (None if operation == "write" else exchanges)

    def freeze(self) -> Contents:
        """The present state, which stays as it is."""
        return Contents(self.applied, self.digest, dict(self._values), dict(self._served))
