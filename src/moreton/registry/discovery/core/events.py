"""Server-sent events out of the bytes of a stream, however they are cut."""

from __future__ import annotations

from dataclasses import dataclass

# A list of 50,000 instances has some 12 MB.
EVENT_BYTES_MAX = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its *name*, its *data*, and the *id* that a stream can be resumed from."""

    name: str
    data: str
    id: str


class EventParser:
    """Takes the bytes of a stream as they come and gives the events that are whole.

    Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream"; `retry` is not heeded.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that has no end yet
        self._rest_bytes = 0
        self._name = ""
        self._data: list[str] = []
        self._data_chars = 0
        self._id = ""

    def feed(self, part: bytes) -> list[ServerEvent]:
        """The events that *part* completes. Raises `ValueError` when one is above its bound."""
        found = []
        *ends, rest = part.split(b"\n")
        for end in ends:
            event = self._line(b"".join((*self._rest, end)).removesuffix(b"\r"))
            self._rest, self._rest_bytes = [], 0
            if event is not None:
                found.append(event)
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        if self._rest_bytes + self._data_chars > EVENT_BYTES_MAX:
            raise ValueError(f"an event is above {EVENT_BYTES_MAX} bytes")
        return found

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._data_chars += len(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._data_chars = "", [], 0
        return ServerEvent(name, "\n".join(data), self._id) if data else None
