"""Limits, bans and resets as the API writes them, and read again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moreton.config import ConfigRefused, faults_of
from moreton.ratelimit.config.loading import LimitsSections, as_limits
from moreton.ratelimit.config.words import ban_of, read_moment
from moreton.ratelimit.core.rules.values import Ban, Limits


@dataclass(frozen=True, slots=True)
class Reset:
    """*key* is to begin anew with *rule*, once; *id* tells one from the next."""

    id: str
    rule: str
    key: str


def ban_document(ban: Ban, source: str) -> dict[str, Any]:
    """*ban*; *source* is `file` or `api`."""
    until = None if ban.until is None else ban.until.astimezone(UTC).isoformat()
    return {"who": ban.who, "until": until, "reason": ban.reason, "source": source}


def ban_from(document: Mapping[str, Any]) -> Ban:
    """What `ban_document` wrote; raises `ValueError`, `KeyError`."""
    until = document.get("until")
    moment = None if until is None else read_moment(until)
    return ban_of(document["who"], moment, str(document.get("reason", "")))


def rules_document(
    sections: Mapping[str, Any], bans: Sequence[Ban], resets: Sequence[Reset]
) -> dict[str, Any]:
    """What services are told: the *sections* about limits as written, bans and resets."""
    return {
        "sections": _without_secrets(plain(sections)),
        "bans": [ban_document(one, "api") for one in bans],
        "resets": [{"id": one.id, "rule": one.rule, "key": one.key} for one in resets],
    }


def from_document(document: Any, folder: Path) -> tuple[Limits, list[Ban], list[Reset]]:
    """What `rules_document` wrote; raises `ConfigRefused`, `ValueError`."""
    try:
        model = LimitsSections.model_validate(document["sections"])
        bans = [ban_from(one) for one in document["bans"]]
        resets = [Reset(str(r["id"]), str(r["rule"]), str(r["key"])) for r in document["resets"]]
    except ValidationError as error:
        raise ConfigRefused(faults_of(error, LimitsSections, None)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the answer is not what was asked for: {error}") from error
    return as_limits(model.limits, model.clients, model.counters, folder), bans, resets


def _without_secrets(sections: dict[str, Any]) -> dict[str, Any]:
    """*sections* with the digests of API keys in their place."""
    keys = sections.get("clients", {}).get("api_keys", {}).get("keys", {})
    for one in keys.values():
        if "key" in one:
            one["sha256"] = hashlib.sha256(one.pop("key").encode()).hexdigest()
    return sections


def plain(value: Any) -> Any:
    """*value* of YAML as JSON has it: moments become text."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, datetime) or hasattr(value, "isoformat"):
        return value.isoformat()
    return value
