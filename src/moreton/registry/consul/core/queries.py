"""The part of a request behind the question mark, and when an answer may be waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from moreton.registry.consul.core.durations import MINUTE, parse_duration
from moreton.registry.consul.core.refusals import bad

WAIT_DEFAULT = 5 * MINUTE
WAIT_MAX = 10 * MINUTE
# So that clients which asked together do not ask again together.
WAIT_JITTER_SHARE = 16
INDEX_MAX = (1 << 64) - 1
_PARAMETERS_MAX = 256
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """Names and values; a name may come several times, or without a value."""

    values: Mapping[str, tuple[str, ...]]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def first(self, name: str) -> str:
        """The first value of *name*, empty without one."""
        return self.values.get(name, ("",))[0]

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of *name*."""
        return self.values.get(name, ())

    def flag(self, name: str) -> bool:
        """True when *name* is there, unless it says otherwise."""
        if name not in self.values:
            return False
        text = self.first(name)
        return True if text == "" else parse_flag(text, name)

    def number(self, name: str) -> int:
        """An unsigned number of 64 bits."""
        return parse_index(self.first(name), f"Invalid value for {name}")


@dataclass(frozen=True, slots=True)
class Blocking:
    """Answer once the index is above *index*, or after *wait* nanoseconds and some jitter."""

    index: int
    wait: int

    def limit(self, share: float) -> int:
        """How long to wait at most, *share* in [0, 1) being random."""
        return self.wait + int(share * (self.wait // WAIT_JITTER_SHARE))


@dataclass(frozen=True, slots=True)
class Options:
    """What every reading request may say."""

    blocking: Blocking | None
    stale: bool
    consistent: bool
    cached: bool

    @property
    def consistency(self) -> str:
        """The word for it in the answer's headers."""
        return "consistent" if self.consistent else "stale" if self.stale else "leader"


def parse_parameters(query: bytes) -> Parameters:
    """The parameters of *query*; what is not UTF-8 in it is replaced."""
    if not query:
        return _NONE
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=_PARAMETERS_MAX
        )
    except ValueError as error:
        raise bad(f"more than {_PARAMETERS_MAX} parameters: the request is not read") from error
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return Parameters({name: tuple(each) for name, each in values.items()})


def parse_options(parameters: Parameters) -> Options:
    """How to answer. Raises `ConsulRequestRefused`."""
    stale, consistent = "stale" in parameters, "consistent" in parameters
    cached = "cached" in parameters
    if stale and consistent:
        raise bad("Cannot specify ?stale with ?consistent, conflicting semantics.")
    if cached and consistent:
        raise bad("Cannot specify ?cached with ?consistent, conflicting semantics.")
    return Options(_blocking(parameters), stale, consistent, cached)


def parse_index(text: str, refusal: str) -> int:
    """An unsigned number of 64 bits, in decimal."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20) or int(text) > INDEX_MAX:
        raise bad(f"{refusal}: {text[:40]!r}")
    return int(text)


def parse_flag(text: str, name: str) -> bool:
    """As Go reads a boolean."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise bad(f'Invalid value for {name}: "{text[:40]}"')


def parse_wait(text: str) -> int:
    """Nanoseconds of `wait`: the default for none or 0, never above `WAIT_MAX`."""
    if not text:
        return WAIT_DEFAULT
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise bad("Invalid wait time") from error
    return WAIT_DEFAULT if found <= 0 else min(found, WAIT_MAX)


def _blocking(parameters: Parameters) -> Blocking | None:
    wait = parse_wait(parameters.first("wait"))
    text = parameters.first("index")
    index = parse_index(text, "Invalid index") if text else 0
    return Blocking(index, wait) if index else None


_NONE = Parameters({})
