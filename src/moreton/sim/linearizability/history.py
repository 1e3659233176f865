"""What clients asked and were told, in the order in which it happened.

As JSON lines, one event each:

    {"process": 0, "type": "invoke", "op": "write", "key": "x", "value": 1, "time": 0.1}
    {"process": 0, "type": "ok", "op": "write", "key": "x", "value": null, "time": 0.2}

`ok`: it took effect; *value* is what the client was told. `fail`: it certainly did not.
`info`: unknown; it may take effect at any later time, or never. A process has one operation under
way at a time. The order of the lines counts; *time* may stand still but never goes back.

Source: the histories of Jepsen and Knossos.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from moreton.sim.linearizability.errors import HistoryNotValid, LineFault, Unreadable

EventType: TypeAlias = Literal["invoke", "ok", "fail", "info"]

# More are not told: whoever has so many has one cause for all.
FAULTS_MAX = 20
_FIELDS = ("process", "type", "op", "key", "time")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history. *process* and *key* are strings, numbers or `None`."""

    line: int
    process: Any
    type: EventType
    op: str
    key: Any
    value: Any
    time: float


@dataclass(frozen=True, slots=True)
class Call:
    """One operation from its invocation to its answer.

    *ended* is the line of the answer, `None` when the outcome is unknown; then *result* is not.
    """

    process: Any
    op: str
    key: Any
    argument: Any
    result: Any
    began: int
    ended: int | None


def read_events(lines: Iterable[str | bytes]) -> list[Event]:
    """The events of a history file. Raises `HistoryNotValid`, with a fault for each bad line."""
    events: list[Event] = []
    faults: list[LineFault] = []
    latest = -math.inf
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = _event(number, line, latest)
        except Unreadable as error:
            faults.append(LineFault(number, str(error)))
            if len(faults) == FAULTS_MAX:
                break
            continue
        latest = event.time
        events.append(event)
    if not events and not faults:
        faults.append(LineFault(1, "the history is empty: there is nothing to judge; record one"))
    if faults:
        raise HistoryNotValid(faults)
    return events


def pair_events(events: Sequence[Event]) -> list[Call]:
    """The operations that took effect or may have, in the order of their invocations.

    Raises `HistoryNotValid` for an answer without an invocation, and the like.
    """
    calls: dict[int, Call] = {}
    under_way: dict[str, Event] = {}
    faults: list[LineFault] = []
    for event in events:
        begun = under_way.pop(canonical(event.process), None)
        fault = _misfit(event, begun)
        if fault is not None:
            faults.append(LineFault(event.line, fault))
        if event.type == "invoke":
            under_way[canonical(event.process)] = event
            calls[event.line] = _call(event, None)
        elif begun is not None and event.type == "fail":
            del calls[begun.line]
        elif begun is not None and event.type == "ok":
            calls[begun.line] = _call(begun, event)
    if faults:
        raise HistoryNotValid(faults[:FAULTS_MAX])
    return list(calls.values())


def canonical(value: Any) -> str:
    """*value* as JSON: equal texts for equal values, and other ones for `1`, `"1"` and `true`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def write_events(events: Iterable[Event]) -> str:
    """*events* as the text of a history file."""
    names = ("process", "type", "op", "key", "value", "time")
    return "".join(
        json.dumps({name: getattr(event, name) for name in names}) + "\n" for event in events
    )


def _event(number: int, line: str | bytes, latest: float) -> Event:
    found = _object(line)
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        names = ", ".join(missing)
        raise Unreadable(f"lacks {names}; every event has process, type, op, key, value, time")
    _check_types(found)
    if found["time"] < latest:
        message = f"time {found['time']} is before {latest}, the time of an earlier line"
        raise Unreadable(f"{message}; put the lines into the order of their times")
    return Event(
        number,
        found["process"],
        cast("EventType", found["type"]),
        found["op"],
        found["key"],
        found.get("value"),
        found["time"],
    )


def _object(line: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(line, parse_constant=_no_number)
    except RecursionError:
        raise Unreadable("not JSON that can be read: nested too deeply") from None
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8; write the history as UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"not JSON, {error.msg.lower()} at column {error.colno}; write one object a line"
        ) from None
    if not isinstance(found, dict):
        raise Unreadable(f"not a JSON object but {_short(found)}; write one object a line")
    return found


def _check_types(found: dict[str, Any]) -> None:
    types = get_args(EventType)
    if found["type"] not in types:
        raise Unreadable(f"type is {_short(found['type'])}; write one of {', '.join(types)}")
    if not isinstance(found["op"], str):
        raise Unreadable(f"op is {_short(found['op'])}; write a word, such as read")
    time = found["time"]
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise Unreadable(f"time is {_short(time)}; write a number")
    for name in ("process", "key"):
        if isinstance(found[name], list | dict):
            raise Unreadable(f"{name} is {_short(found[name])}; write a string or a number")


def _misfit(event: Event, begun: Event | None) -> str | None:
    """What is wrong with *event* after *begun*, the operation that its process has under way."""
    who = f"process {canonical(event.process)}"
    if event.type == "invoke":
        if begun is None:
            return None
        return (
            f"{who} invokes {event.op} while its {begun.op} of line {begun.line} has no answer; "
            "write that answer before, info if it never came"
        )
    if begun is None:
        return (
            f"{event.type} of {event.op} by {who}, which has nothing under way; "
            "write the invoke before it"
        )
    if (event.op, canonical(event.key)) != (begun.op, canonical(begun.key)):
        return (
            f"{event.type} of {event.op} on {canonical(event.key)} answers {begun.op} on "
            f"{canonical(begun.key)} of line {begun.line}; write the same op and key in both"
        )
    return None


def _call(begun: Event, answer: Event | None) -> Call:
    return Call(
        begun.process,
        begun.op,
        begun.key,
        begun.value,
        None if answer is None else answer.value,
        begun.line,
        None if answer is None else answer.line,
    )


def _no_number(text: str) -> float:
    raise json.JSONDecodeError(f"{text} is no number of JSON", "", 0)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
