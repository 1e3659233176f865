"""The section `routes`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from moreton.config import Duration, Name, Percentage, Section
from moreton.config.words import (
    Condition,
    HostText,
    PathText,
    check_methods,
    one_header,
    read_header_name,
    read_header_value,
)
from moreton.gateway.core.model import (
    Cors,
    Destination,
    HeaderChanges,
    Mirror,
    Redirect,
    Retries,
    Route,
    RouteMatch,
)
from moreton.kernel.patterns import PathKind

_RETRY_WORDS = frozenset(
    [
        "connect-failure",
        "refused-stream",
        "reset",
        "reset-before-request",
        "5xx",
        "gateway-error",
        "retriable-4xx",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
_WEIGHT_MAX = 1_000_000


class RetriesModel(Section):
    """How often a failed attempt is repeated, and which failures count."""

    attempts: Annotated[int, Field(ge=1, le=10)]
    on: Annotated[list[str | int], Field(min_length=1)] = [
        "connect-failure",
        "refused-stream",
        "reset-before-request",
    ]
    per_try_timeout: Duration | None = None

    @field_validator("on")
    @classmethod
    def _known(cls, words: list[str | int]) -> list[str | int]:
        for word in words:
            if not (str(word) in _RETRY_WORDS or (str(word).isdigit() and 400 <= int(word) < 600)):
                known = ", ".join(sorted(_RETRY_WORDS))
                raise ValueError(f"{word!r} is no reason to retry; use a status or one of {known}")
        return words


class RewriteModel(Section):
    """What the service sees instead of the matched path and the host."""

    path: str | None = None
    host: HostText | None = None

    @field_validator("path")
    @classmethod
    def _slash(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError(f"{value!r} is not a path; begin it with a slash")
        return value


class RedirectModel(Section):
    """An answer that sends the client elsewhere."""

    status: Literal[301, 302, 303, 307, 308] = 302
    scheme: Literal["http", "https"] | None = None
    host: HostText | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.model_fields_set & {"scheme", "host", "port", "path"}:
            raise ValueError("it leads nowhere; give a scheme, host, port or path")
        return self


class HeaderChangesModel(Section):
    """Headers set, added and removed."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: list[str] = []

    @model_validator(mode="after")
    def _names(self) -> Self:
        for changes in (self.set, self.add):
            for name, value in changes.items():
                one_header(name, changes)
                read_header_value(value)
        for name in self.remove:
            read_header_name(name)
        return self

    def as_value(self) -> HeaderChanges:
        """The core's value."""
        return HeaderChanges(self.set, self.add, tuple(self.remove))


class MirrorModel(Section):
    """A service that gets copies."""

    service: Name
    share: Percentage = 1.0


class CorsModel(Section):
    """Which browsers' origins may call."""

    origins: Annotated[list[str], Field(min_length=1)]
    methods: list[str] = []
    headers: list[str] = []
    expose: list[str] = []
    credentials: bool = False
    max_age: Duration | None = None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise ValueError("any origin with credentials is refused by browsers; name the origins")
        return self

    def as_value(self) -> Cors:
        """The core's value."""
        return Cors(
            tuple(self.origins),
            tuple(self.methods),
            tuple(self.headers),
            tuple(self.expose),
            self.credentials,
            self.max_age,
        )


class RouteModel(Section):
    """Which requests, and what happens to them."""

    path: PathText
    gateways: list[Name] = []
    hosts: list[HostText] = []
    methods: list[str] = []
    headers: dict[str, Condition] = {}
    query: dict[str, Condition] = {}
    to: Name | dict[str, int] | None = None
    redirect: RedirectModel | None = None
    timeout: Duration | None = None
    idle_timeout: Duration | None = None
    retries: RetriesModel | None = None
    policy: Name | None = None  # one of the section `policies`; what the route says itself wins
    rewrite: RewriteModel | None = None
    request_headers: HeaderChangesModel | None = None
    response_headers: HeaderChangesModel | None = None
    mirror: MirrorModel | list[MirrorModel] | None = None
    cors: CorsModel | None = None
    websocket: bool = True

    @field_validator("methods")
    @classmethod
    def _methods(cls, methods: list[str]) -> list[str]:
        return check_methods(methods)

    @field_validator("headers")
    @classmethod
    def _header_names(cls, headers: dict[str, Any]) -> dict[str, Any]:
        return {one_header(name, headers): condition for name, condition in headers.items()}

    @field_validator("to")
    @classmethod
    def _weights(cls, to: str | dict[str, int] | None) -> str | dict[str, int] | None:
        if isinstance(to, dict):
            if not to or not any(to.values()):
                raise ValueError("no destination has a weight; give at least one more than 0")
            for service, weight in to.items():
                if not 0 <= weight <= _WEIGHT_MAX:
                    raise ValueError(
                        f"{service} has the weight {weight}; use one from 0 to {_WEIGHT_MAX}"
                    )
        return to

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if (self.to is None) == (self.redirect is None):
            had = (
                "both `to` and `redirect`" if self.to is not None else "neither `to` nor `redirect`"
            )
            raise ValueError(f"it has {had}; give it exactly one")
        if self.redirect is not None:
            useless = self.model_fields_set & {"rewrite", "retries", "timeout", "mirror", "policy"}
            if useless:
                names = ", ".join(sorted(useless))
                raise ValueError(
                    f"a redirect forwards nothing, so {names} means nothing; remove it"
                )
        template = self.path.kind is PathKind.TEMPLATE
        if template and self.rewrite is not None and self.rewrite.path is not None:
            raise ValueError("a template's path cannot be rewritten; use an exact path or a prefix")
        return self

    def as_value(self, name: str) -> Route:
        """The core's value."""
        to = {self.to: 1} if isinstance(self.to, str) else self.to or {}
        mirrors = [self.mirror] if isinstance(self.mirror, MirrorModel) else self.mirror or []
        retries = self.retries
        redirect = self.redirect
        rewrite = self.rewrite or RewriteModel()
        return Route(
            name,
            RouteMatch(
                self.path,
                frozenset(self.hosts),
                frozenset(method.upper() for method in self.methods),
                tuple(one.as_value(key) for key, one in sorted(self.headers.items())),
                tuple(one.as_value(key) for key, one in sorted(self.query.items())),
            ),
            gateways=frozenset(self.gateways),
            to=tuple(Destination(service, weight) for service, weight in to.items()),
            redirect=None if redirect is None else Redirect(**redirect.model_dump()),
            timeout=self.timeout,
            idle_timeout=self.idle_timeout,
            retries=None
            if retries is None
            else Retries(
                retries.attempts, tuple(str(word) for word in retries.on), retries.per_try_timeout
            ),
            rewrite_path=rewrite.path,
            rewrite_host=rewrite.host,
            request_headers=None
            if self.request_headers is None
            else self.request_headers.as_value(),
            response_headers=None
            if self.response_headers is None
            else self.response_headers.as_value(),
            mirrors=tuple(Mirror(one.service, one.share) for one in mirrors),
            cors=None if self.cors is None else self.cors.as_value(),
            websocket=self.websocket,
        )
