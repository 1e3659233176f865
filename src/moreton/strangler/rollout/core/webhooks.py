"""What is told of migrations to programs elsewhere, and how they know who told it.

Events are of CloudEvents 1.0 in its JSON format, signed as Standard Webhooks has it: receivers
check both with the libraries that there are.

Sources: CloudEvents, "JSON Event Format for CloudEvents", version 1.0.2; Standard Webhooks,
"Specification", 2023.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from moreton.resilience.core.backoff import Backoff
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import Happening

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_TYPE = "moreton.migration."
_ENCODED = "whsec_"
_BACKOFF = Backoff(initial=timedelta(seconds=1), cap=timedelta(minutes=5))


@dataclass(frozen=True, slots=True)
class Webhook:
    """Tells *url* of *events*, in their order and each at least once.

    What is not taken is tried again, after waits by *backoff*, until *give_up* has passed since
    it was tried first. A try has *timeout*. *secret_file* is read anew for each try.
    """

    name: str
    url: str
    events: frozenset[Happening] = frozenset(Happening)
    secret: str = field(default="", repr=False)
    secret_file: str = ""
    timeout: timedelta = timedelta(seconds=10)
    backoff: Backoff = _BACKOFF
    give_up: timedelta = timedelta(days=1)


def event_document(plan: Plan, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The event of an *entry* of a migration's history: the same however often it is told."""
    kind = entry["kind"]
    return {
        "specversion": "1.0",
        "id": entry["id"],
        "source": f"/moreton/migrations/{plan.name}",
        "type": f"{_TYPE}{kind}",
        "subject": plan.name,
        "time": entry["when"],
        "datacontenttype": "application/json",
        "data": {
            "migration": plan.name,
            "route": plan.route,
            "from": plan.baseline,
            "to": plan.candidate,
            **{name: entry[name] for name in ("number", "try", "what", "stage", "share")},
            **{name: entry[name] for name in ("by", "because", "verdicts")},
            "text": _sentence(plan, entry),
        },
    }


def body_of(document: Mapping[str, Any]) -> bytes:
    """An event as it is sent."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def headers_of(identity: str, body: bytes, seconds: int, secret: str) -> dict[str, str]:
    """What goes with the event *identity*, whose *body* is sent at *seconds* of Unix time.

    Without a *secret* nothing is signed.
    """
    headers = {
        "content-type": CONTENT_TYPE,
        "webhook-id": identity,
        "webhook-timestamp": str(seconds),
    }
    if secret:
        signed = f"{identity}.{seconds}.".encode() + body
        digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def key_of(secret: str) -> bytes:
    """The key in *secret*: Base64 after `whsec_`, else its bytes. Raises `ValueError`."""
    if not secret.startswith(_ENCODED):
        return secret.encode()
    return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)


def _sentence(plan: Plan, entry: Mapping[str, Any]) -> str:
    by = f" by {entry['by']}" if entry["by"] else ""
    because = f": {entry['because']}" if entry["because"] else ""
    return (
        f"{plan.name} {entry['what']}{by}, stage {entry['stage']}; {plan.candidate} gets "
        f"{entry['share'] * 100:g}% of {plan.route}{because}"
    )
