"""How far a webhook is, as stored: which entries of a history it has told, and what is in the way.

The history is the queue: an entry names the webhooks that were there when it was written, in the
transaction that made it happen. So nothing that happened is forgotten, whatever is killed when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from moreton.controlplane.migrations.records import PREFIX, history_prefix
from moreton.store import Store, prefix_end
from moreton.strangler.rollout.core.webhooks import Webhook

_STANDINGS = PREFIX + b"webhooks/"
_ERROR_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class Standing:
    """What a webhook told, up to and with the entry *told*; *tries* of the next one failed.

    Moments are ISO texts, empty where there is none.
    """

    told: int = 0
    delivered: int = 0
    given_up: int = 0
    last: str = ""  # when something was delivered
    tries: int = 0
    error: str = ""  # of the last try, or of what was given up last
    first: str = ""  # when the next entry was tried first
    again: str = ""  # when it is tried again

    def passed(self, number: int) -> Standing:
        """*number* is nothing for it."""
        return replace(self, told=number)

    def delivered_at(self, number: int, when: datetime) -> Standing:
        """*number* was taken."""
        return Standing(number, self.delivered + 1, self.given_up, last=_text(when))

    def failed_at(self, when: datetime, error: str, again: datetime) -> Standing:
        """The next entry was not taken, because of *error*, and is tried *again*."""
        return replace(
            self,
            tries=self.tries + 1,
            error=error[:_ERROR_CHARS_MAX],
            first=self.first or _text(when),
            again=_text(again),
        )

    def gave_up(self, number: int, error: str) -> Standing:
        """*number* is not tried any more."""
        given_up = self.given_up + 1
        return Standing(
            number, self.delivered, given_up, last=self.last, error=error[:_ERROR_CHARS_MAX]
        )

    @property
    def since(self) -> datetime | None:
        """When the next entry was tried first."""
        return datetime.fromisoformat(self.first) if self.first else None


async def read_standing(store: Store, migration: str, webhook: str) -> Standing:
    """How far the *webhook* of *migration* is."""
    found = await store.range(standing_key(migration, webhook))
    try:
        return Standing(**json.loads(found.kvs[0].value)) if found.kvs else Standing()
    except (ValueError, TypeError):
        return Standing()  # of a later version: what was told is told again


async def pending(
    store: Store, migration: str, webhook: Webhook, told: int
) -> Sequence[dict[str, Any]]:
    """What it has to tell after the entry *told*, oldest first."""
    prefix = history_prefix(migration)
    found = await store.range(prefix + f"{told + 1:09d}".encode(), prefix_end(prefix))
    entries = [json.loads(kv.value) for kv in found.kvs]
    return [
        each
        for each in entries
        if webhook.name in each.get("webhooks", ()) and each["kind"] in webhook.events
    ]


def standing_key(migration: str, webhook: str) -> bytes:
    """Where it lies."""
    return _STANDINGS + f"{migration}/{webhook}".encode()


def encode_standing(standing: Standing) -> bytes:
    """The value in the store."""
    return json.dumps(asdict(standing), separators=(",", ":")).encode()


def _text(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")
