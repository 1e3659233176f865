"""The section `webhooks` of a migration in `moreton.yaml`, as a model."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from moreton.config import Duration, Section
from moreton.resilience.config import BackoffModel
from moreton.strangler.rollout.core.progress import Happening
from moreton.strangler.rollout.core.webhooks import Webhook, key_of

_TIMEOUT_MAX = timedelta(minutes=1)
# Whoever knows less of a key than this cannot guess it.
_KEY_BYTES_MIN = 16


def _event(word: str) -> str:
    if word not in _EVENTS:
        raise ValueError(f"{word!r} does not happen; use one of {', '.join(_EVENTS)}")
    return word


_EVENTS = [each.value for each in Happening]
Event = Annotated[str, AfterValidator(_event), WithJsonSchema({"type": "string", "enum": _EVENTS})]


class WaitsModel(BackoffModel):
    """How long to wait before each further try."""

    initial: Duration = timedelta(seconds=1)
    cap: Duration = timedelta(minutes=5)


class WebhookModel(Section):
    """Whom to tell what happens to a migration."""

    url: str
    events: Annotated[list[Event] | None, Field(min_length=1)] = None  # all
    secret: str | None = None
    secret_file: str | None = None
    timeout: Duration = timedelta(seconds=10)
    backoff: WaitsModel = WaitsModel()
    give_up: Duration = timedelta(days=1)

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{value!r} is not a URL; write one like https://chat.example/hook")
        return value

    @field_validator("secret")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None:
            check_secret(value)
        return value

    @field_validator("timeout")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value <= _TIMEOUT_MAX:
            raise ValueError("a try takes more than nothing and at most 1m; write 10s")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("it has two secrets; keep secret or secret_file")
        return self

    def as_value(self, name: str, folder: Path) -> Webhook:
        """The core's value; files lie in *folder*."""
        given = self.backoff.as_value()
        file = "" if self.secret_file is None else str((folder / self.secret_file).absolute())
        words = _EVENTS if self.events is None else self.events
        return Webhook(
            name,
            self.url,
            frozenset(Happening(each) for each in words),
            secret=self.secret or "",
            secret_file=file,
            timeout=self.timeout,
            backoff=given,
            give_up=self.give_up,
        )


def check_secret(secret: str) -> None:
    """Raises `ValueError` for one that anybody can guess, or that is not what it says it is."""
    try:
        key = key_of(secret)
    except ValueError as error:
        raise ValueError(
            "the secret is not Base64 after whsec_; copy it again, or leave the prefix away"
        ) from error
    if len(key) < _KEY_BYTES_MIN:
        raise ValueError(
            f"the secret has {len(key)} bytes, which can be guessed; give {_KEY_BYTES_MIN} or more"
        )
