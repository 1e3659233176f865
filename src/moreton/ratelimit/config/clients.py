"""The sections `clients`, how clients are told apart, and `counters`, where counts are kept."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from moreton.config import Duration, Name, Section
from moreton.config.words import text
from moreton.ratelimit.config.limits import HeaderName
from moreton.ratelimit.config.words import (
    CountryText,
    MomentText,
    NetworkText,
    OneOrMany,
    PartText,
    ProxyText,
    WhoText,
    Written,
)
from moreton.ratelimit.core.addresses import V6_BITS
from moreton.ratelimit.core.rules.values import (
    ApiKey,
    Ban,
    Clients,
    Counters,
    Tier,
    Tokens,
)

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+cluster")


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError("it is not a SHA-256; write 64 hex digits, as sha256sum prints them")
    return value.lower()


class TierModel(Section):
    """A tier of clients."""

    within: Name | None = None  # what holds for that tier holds here, too, where nothing else does
    aliases: Annotated[list[str], OneOrMany()] = []
    addresses: Annotated[list[NetworkText], OneOrMany()] = []


class ApiKeyModel(Section):
    """A key by its digest, so that the file holds no secret; or the key itself."""

    sha256: Annotated[str, *text(_digest, "0" * 64)] | None = None
    key: Annotated[str, Field(min_length=1)] | None = None
    tier: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.sha256 is None) == (self.key is None):
            raise ValueError("give exactly one; use sha256 (of the key, in hex) or key")
        return self

    def as_value(self, name: str) -> ApiKey:
        """The core's value."""
        digest = self.sha256 or hashlib.sha256((self.key or "").encode()).hexdigest()
        return ApiKey(name, digest, self.tier or "")


class ApiKeysModel(Section):
    """Where keys stand, and which there are; without `keys` any value stands for itself."""

    header: HeaderName = "x-api-key"
    keys: dict[Name, ApiKeyModel] = {}


class JwtModel(Section):
    """Where tokens stand, and who answers for what they claim."""

    header: HeaderName = "authorization"
    keys: str | None = None  # a file: a PEM public key, or a JWKS
    issuer: str | None = None
    audience: str | None = None
    verified: Literal[True] | None = None  # what stands in front verified them

    @model_validator(mode="after")
    def _answered_for(self) -> Self:
        if (self.keys is None) == (self.verified is None):
            raise ValueError(
                "anyone can write a token; give keys, a file to verify it by, or "
                "`verified: true` where what stands in front did, and not both"
            )
        if self.verified and (self.issuer or self.audience):
            raise ValueError(
                "issuer and audience are verified with keys; give keys, or remove them"
            )
        return self


class GeoipModel(Section):
    """Files in the MaxMind format; the first that knows an address says its country and AS."""

    files: Annotated[list[str], OneOrMany(), Field(min_length=1)]
    unknown_country: CountryText = "ZZ"  # a code that ISO 3166 leaves to its users
    unknown_asn: Annotated[int, Field(ge=0)] = 0


class BanModel(Section):
    """Nobody of `who` passes."""

    who: WhoText
    until: MomentText | None = None
    reason: Annotated[str, Field(max_length=500)] = ""

    def as_value(self) -> Ban:
        """The core's value."""
        part, value = self.who
        return Ban(part, value, self.until, self.reason)


def _who(value: Any) -> Any:
    return {"who": value} if isinstance(value, str) else value


_WHO = {"type": "string", "examples": ["192.0.2.0/24", "api-key=acme"]}
BanText = Annotated[BanModel, Written(_who, _WHO)]


class ClientsModel(Section):
    """How clients are told apart."""

    trusted_proxies: Annotated[list[ProxyText], OneOrMany()] = []
    ipv6_prefix: Annotated[int, Field(ge=16, le=128)] = V6_BITS
    api_keys: ApiKeysModel = ApiKeysModel()
    jwt: JwtModel | None = None
    tiers: dict[Name, TierModel] = {}
    tier_from: Annotated[list[PartText], OneOrMany()] = []
    unknown_tier: Name | None = None
    geoip: GeoipModel | None = None
    bans: list[BanText] = []

    def as_value(self, folder: Path) -> Clients:
        """The core's value; files count from *folder*."""
        geoip = self.geoip
        tokens = None
        if self.jwt is not None:
            keys = str((folder / self.jwt.keys).absolute()) if self.jwt.keys else ""
            told = self.jwt
            tokens = Tokens(told.header, keys, told.issuer or "", told.audience or "")
        return Clients(
            trusted=tuple(self.trusted_proxies),
            v6_bits=self.ipv6_prefix,
            api_key_header=self.api_keys.header,
            api_keys=tuple(one.as_value(name) for name, one in self.api_keys.keys.items()),
            tokens=tokens,
            tiers={
                name: Tier(name, one.within or "", frozenset(one.aliases), tuple(one.addresses))
                for name, one in self.tiers.items()
            },
            tier_from=tuple(self.tier_from),
            tier_unknown=self.unknown_tier or "",
            geoip=()
            if geoip is None
            else tuple(str((folder / file).absolute()) for file in geoip.files),
            country_unknown="ZZ" if geoip is None else geoip.unknown_country,
            asn_unknown=0 if geoip is None else geoip.unknown_asn,
            bans=tuple(one.as_value() for one in self.bans),
        )


def _redis(value: Any) -> Any:
    scheme, found, _ = str(value).partition("://")
    if not isinstance(value, str) or not found or scheme not in _REDIS_SCHEMES:
        raise ValueError(f"{value!r} is not a Redis; write one like redis://127.0.0.1:6379/0")
    return value


class CountersModel(Section):
    """Where counts are kept that are shared."""

    redis: Annotated[str, Written(_redis)] | None = None
    budget: Duration = timedelta(milliseconds=100)  # no decision takes longer
    file: str | None = None  # for the processes of one machine

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.budget == timedelta(0):
            raise ValueError("budget is 0, in which no Redis could answer; give one like 100ms")
        return self

    def as_value(self, folder: Path) -> Counters:
        """The core's value; the file counts from *folder*."""
        file = str((folder / self.file).absolute()) if self.file else ""
        return Counters(self.redis or "", self.budget, file)
