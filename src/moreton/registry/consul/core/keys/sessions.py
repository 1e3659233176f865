"""Sessions: what holds locks on keys, and lets go of them when it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.registry.consul.core.durations import (
    HOUR,
    SECOND,
    format_duration,
    parse_duration,
    to_timedelta,
)
from moreton.registry.consul.core.fields import Fields
from moreton.registry.consul.core.keys.entries import OnEnd
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad, undecodable
from moreton.store.core.model import KeyValue

LOCK_DELAY_DEFAULT = 15 * SECOND
LOCK_DELAY_MAX = 60 * SECOND
# Consul begins at 10 s and ends a session up to twice as late; here the ttl is what it says.
TTL_MIN = SECOND
TTL_MAX = 24 * HOUR
NODE_CHECK = "serfHealth"
RELEASE, DELETE = "release", "delete"
# Numbers below it are meant as seconds, as many clients write them.
_SECONDS_BELOW = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """A holder of locks; *ttl* is 0 for one that lasts until it is destroyed.

    It ends too when one of its *service_checks* is critical or gone. Lengths are nanoseconds.
    """

    id: str
    name: str = ""
    node: str = ""
    lock_delay: int = LOCK_DELAY_DEFAULT
    behavior: str = RELEASE
    ttl: int = 0
    ttl_text: str = ""
    node_checks: tuple[str, ...] = (NODE_CHECK,)
    service_checks: tuple[str, ...] = ()
    create_index: int = 0
    modify_index: int = 0

    @property
    def lease_ttl(self) -> timedelta | None:
        """How long the session lives after each renewal; `None` for ever."""
        return to_timedelta(self.ttl) if self.ttl else None

    @property
    def on_end(self) -> OnEnd:
        """What becomes of the keys that it holds."""
        return OnEnd(deletes=self.behavior == DELETE, delay=self.lock_delay)


def read_session(body: object, *, session_id: str, node: str) -> Session:
    """The body of `session/create`; `None` for none. Raises `ConsulRequestRefused`."""
    fields = Fields({} if body is None else body, "the session")
    behavior = fields.text("behavior") or RELEASE
    if behavior not in {RELEASE, DELETE}:
        raise _invalid(f"Invalid Behavior setting '{behavior[:40]}'")
    asked = fields.text("node")
    if asked not in {"", node}:
        raise ConsulRequestRefused(500, f"Missing node registration: {asked[:80]!r}")
    node_checks: tuple[str, ...] = (NODE_CHECK,)
    service_checks = _service_checks(fields)
    if fields.has("nodechecks"):
        node_checks = fields.texts("nodechecks")
    elif fields.has("checks"):
        listed = fields.texts("checks")
        node_checks = tuple(each for each in listed if each == NODE_CHECK)
        service_checks += tuple(each for each in listed if each != NODE_CHECK)
    for each in node_checks:
        if each != NODE_CHECK:
            raise ConsulRequestRefused(500, f"Missing check '{each[:80]}' registration")
    return Session(
        id=session_id,
        name=fields.text("name"),
        node=node,
        lock_delay=_lock_delay(fields),
        behavior=behavior,
        ttl=_ttl(fields.text("ttl")),
        ttl_text=fields.text("ttl"),
        node_checks=node_checks,
        service_checks=service_checks,
    )


def _service_checks(fields: Fields) -> tuple[str, ...]:
    found = fields.raw("servicechecks")
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return tuple(found)
    return tuple(each.text("id") for each in fields.children("servicechecks"))


def _lock_delay(fields: Fields) -> int:
    if "lockdelay" not in fields:
        return LOCK_DELAY_DEFAULT
    found = fields.duration("lockdelay")
    if found < _SECONDS_BELOW:
        found *= SECOND
    if not 0 <= found <= LOCK_DELAY_MAX:
        shown, longest = format_duration(found), format_duration(LOCK_DELAY_MAX)
        raise undecodable(f"LockDelay {shown} is outside 0s to {longest}")
    return found


def _ttl(text: str) -> int:
    if not text:
        return 0
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise _invalid(f"Session TTL '{text[:40]}' invalid: {error}") from error
    if found and not TTL_MIN <= found <= TTL_MAX:
        shortest, longest = format_duration(TTL_MIN), format_duration(TTL_MAX)
        raise bad(
            f"Invalid Session TTL '{format_duration(found)}', must be between "
            f"[{shortest}, {longest}]"
        )
    return found


def _invalid(text: str) -> ConsulRequestRefused:
    return ConsulRequestRefused(400, text)


def encode(session: Session) -> bytes:
    """The value in the store."""
    document = {slot: getattr(session, slot) for slot in _STORED}
    return json.dumps(document, sort_keys=True).encode()


def decode(session_id: str, kv: KeyValue) -> Session | None:
    """The session that `encode` wrote; `None` for what no version of ours wrote."""
    try:
        found = json.loads(kv.value)
        return Session(
            id=session_id,
            name=str(found["name"]),
            node=str(found["node"]),
            lock_delay=int(found["lock_delay"]),
            behavior=str(found["behavior"]),
            ttl=int(found["ttl"]),
            ttl_text=str(found["ttl_text"]),
            node_checks=tuple(found["node_checks"]),
            service_checks=tuple(found["service_checks"]),
            create_index=kv.create_revision,
            modify_index=kv.mod_revision,
        )
    except (ValueError, TypeError, KeyError):
        return None


def to_document(session: Session) -> dict[str, Any]:
    """The session as the API shows it: the delay in nanoseconds, the ttl as it was asked for."""
    services = [{"ID": each, "Namespace": ""} for each in session.service_checks]
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": session.lock_delay,
        "Behavior": session.behavior,
        "TTL": session.ttl_text,
        "NodeChecks": list(session.node_checks),
        "ServiceChecks": services or None,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.modify_index,
    }


_STORED = tuple(
    slot for slot in Session.__slots__ if slot not in {"id", "create_index", "modify_index"}
)
