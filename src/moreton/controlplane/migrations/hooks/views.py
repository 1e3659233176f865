"""A webhook as the API shows it: where it goes, what it told, and what is in the way."""

from __future__ import annotations

from typing import Any

from moreton.controlplane.migrations.hooks.posting import place_of
from moreton.controlplane.migrations.hooks.standing import pending, read_standing
from moreton.store import Store
from moreton.strangler.rollout.core.webhooks import Webhook


async def webhook_document(store: Store, migration: str, webhook: Webhook) -> dict[str, Any]:
    """How far the *webhook* of *migration* is; of its URL only the host, for the rest is secret."""
    standing = await read_standing(store, migration, webhook.name)
    waiting = await pending(store, migration, webhook, standing.told)
    return {
        "name": webhook.name,
        "to": place_of(webhook),
        "delivered": standing.delivered,
        "waiting": len(waiting),
        "given_up": standing.given_up,
        "last": standing.last,
        "tries": standing.tries,
        "error": standing.error,
        "again": standing.again,
    }
