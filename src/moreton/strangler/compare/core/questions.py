"""What a copy of a request looks like to the service that is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# They belong to one connection (RFC 9110, section 7.6.1), or are made anew with each request.
_DROPPED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# A segment that names one thing of many: it has a digit, or is longer than words are.
_ONE_OF_MANY = re.compile(r"[^/]*\d[^/]*|[^/]{40,}")
_SEGMENTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What a gateway changes on the way: *prefix*, or the whole path, becomes *path*.

    *set* and *remove* are header fields; *host* is what the service sees instead.
    """

    prefix: str | None = None
    path: str | None = None
    host: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()

    def target(self, target: str) -> str:
        """*target* as the service gets it."""
        if self.path is None:
            return target
        path, mark, query = target.partition("?")
        if self.prefix is None:
            return f"{self.path}{mark}{query}"
        rest = path[len(self.prefix) :].lstrip("/")
        base = self.path.rstrip("/")
        return f"{base}/{rest}{mark}{query}" if rest or not base else f"{base}{mark}{query}"


@dataclass(frozen=True, slots=True)
class Question:
    """A request to be asked: *headers* without what a client adds by itself."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


def rewritten(
    headers: Iterable[tuple[str, str]], host: str, how: Rewriting, mark: tuple[str, str]
) -> Sequence[tuple[str, str]]:
    """*headers* of a copy: as a gateway would send them, *host* first, and with the *mark*."""
    changed = {name.lower() for name in (*how.set, *how.remove)} | {mark[0]}
    kept = [pair for pair in headers if pair[0] not in _DROPPED and pair[0] not in changed]
    cookies = [value for name, value in kept if name == "cookie"]
    if len(cookies) > 1:  # HTTP/2 may cut them apart: RFC 9113, section 8.2.3
        kept = [pair for pair in kept if pair[0] != "cookie"]
        kept.append(("cookie", "; ".join(cookies)))
    if how.host is not None:
        kept.append(("x-forwarded-host", host))
    own = [(name.lower(), value) for name, value in how.set.items()]
    return [("host", how.host or host), *kept, *own, mark]


def endpoint_of(method: str, target: str) -> str:
    """`GET /orders/*/items`: *target* without its query, and without what names one of many."""
    segments = target.partition("?")[0].split("/")[: _SEGMENTS_MAX + 1]
    general = ("*" if _ONE_OF_MANY.fullmatch(segment) else segment for segment in segments)
    return f"{method} {'/'.join(general)}"
