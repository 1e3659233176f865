"""Frames as lines of JSON, for TCP."""

from __future__ import annotations

import json
from typing import Any, assert_never

from moreton.election.ring.core.frames import Ack, Carry, Decision, Frame, Ping
from moreton.election.ring.core.ring import (
    Announcement,
    Answer,
    Candidate,
    Coordinator,
    Direction,
    Election,
    Message,
    Probe,
    Reply,
    Uid,
)

# The longest frame is a probe with a decision: 400 bytes and two node names.
LINE_BYTES_MAX = 4096
_SIMPLE: dict[str, type[Candidate | Election | Answer | Coordinator]] = {
    "candidate": Candidate,
    "election": Election,
    "answer": Answer,
    "coordinator": Coordinator,
}
_SIMPLE_NAMES = {kind: name for name, kind in _SIMPLE.items()}


def encode(ring: str, source: Uid, frame: Frame) -> bytes:
    """*frame* as one line."""
    document: dict[str, Any] = {"ring": ring, "from": from_uid(source), "epoch": frame.epoch}
    document |= {"seq": frame.seq, "decision": from_decision(frame.decision)}
    match frame:
        case Carry(hops=hops, message=message):
            document |= {"kind": "carry", "hops": hops, "message": _from_message(message)}
        case Ping():
            document["kind"] = "ping"
        case Ack():
            document["kind"] = "ack"
        case _:
            assert_never(frame)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes, ring: str) -> tuple[Uid, Frame] | None:
    """The sender and the frame of *line*; `None` if it is malformed or of another ring."""
    try:
        document = json.loads(line)
        if document["ring"] != ring:
            return None
        return to_uid(document["from"]), _to_frame(document)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def from_uid(uid: Uid) -> list[int | str]:
    """*uid* for JSON."""
    return [uid.priority, uid.boot, uid.node]


def to_uid(value: Any) -> Uid:
    """The UID of *value*. Raises `ValueError` or `TypeError`."""
    priority, boot, node = value
    if type(priority) is not int or type(boot) is not int or type(node) is not str:
        message = f"{value!r} is not a uid"
        raise TypeError(message)
    return Uid(priority, boot, node)


def from_decision(decision: Decision | None) -> dict[str, Any] | None:
    """*decision* for JSON."""
    if decision is None:
        return None
    leader = from_uid(decision.leader)
    return {"epoch": decision.epoch, "leader": leader, "token": decision.token}


def to_decision(value: Any) -> Decision | None:
    """The decision of *value*. Raises `ValueError`, `TypeError` or `KeyError`."""
    if value is None:
        return None
    token = value["token"]
    leader = to_uid(value["leader"])
    return Decision(_number(value["epoch"]), leader, None if token is None else _number(token))


def _to_frame(document: Any) -> Frame:
    epoch, seq = _number(document["epoch"]), _number(document["seq"])
    decision = to_decision(document["decision"])
    match document["kind"]:
        case "carry":
            message = _to_message(document["message"])
            return Carry(epoch, seq, _number(document["hops"]), message, decision)
        case "ping":
            return Ping(epoch, seq, decision)
        case "ack":
            return Ack(epoch, seq, decision)
        case kind:
            reason = f"{kind!r} is no kind of frame"
            raise ValueError(reason)


def _from_message(message: Message) -> dict[str, Any]:
    match message:
        case Announcement(leader=leader):
            return {"kind": "announcement", "uid": from_uid(leader)}
        case Probe(uid=uid, direction=direction, phase=phase, hops=hops):
            way = {"direction": direction.value, "phase": phase, "hops": hops}
            return {"kind": "probe", "uid": from_uid(uid), **way}
        case Reply(uid=uid, direction=direction, phase=phase):
            way = {"direction": direction.value, "phase": phase}
            return {"kind": "reply", "uid": from_uid(uid), **way}
        case _:
            return {"kind": _SIMPLE_NAMES[type(message)], "uid": from_uid(message.uid)}


def _to_message(document: Any) -> Message:
    kind, uid = document["kind"], to_uid(document["uid"])
    if kind in _SIMPLE:
        return _SIMPLE[kind](uid)
    if kind == "announcement":
        return Announcement(uid)
    direction, phase = Direction(document["direction"]), _number(document["phase"])
    if kind == "probe":
        return Probe(uid, direction, phase, _number(document["hops"]))
    if kind == "reply":
        return Reply(uid, direction, phase)
    reason = f"{kind!r} is no kind of message"
    raise ValueError(reason)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        message = f"{value!r} is not a number of at least 0"
        raise TypeError(message)
    return value
