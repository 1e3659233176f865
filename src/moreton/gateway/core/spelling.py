"""How Envoy spells what it compares: the paths and queries of requests, and patterns of them.

Envoy normalises a request's path before it looks: dot segments and double slashes are gone, `%7E`
is `~`, `"` is `%22`, but `%c3` and `%C3` stay as they came. The query it compares as it was sent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote_to_bytes

from moreton.kernel.patterns import PathPattern, ValueMatch, ValueMatchKind, value_matches

ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*")
_PLAIN = re.compile(r"[A-Za-z0-9\-._~/!$&'()*+,;=:@\[\]]*")
_KEPT = "/!$&'()*+,;=:@[]%"  # besides letters, digits and -._~
_UNRESERVED_ESCAPE = re.compile(r"%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
# An escaped slash is answered with a redirect to the path with a plain one.
_SLASH = re.compile(r"\\|%2[Ff]|%5[Cc]")
_PATTERNS_REMEMBERED = 4096


def canonical(path: str) -> str:
    """*path* with each character escaped, or not, as in the path of a request in Envoy."""
    if _PLAIN.fullmatch(path):
        return path
    decoded = _UNRESERVED_ESCAPE.sub(lambda m: unquote_to_bytes(m[0]).decode(), path)
    return quote(decoded, safe=_KEPT)


def normalized(path: str) -> str:
    """*path* as routes are held against it: dots are resolved, then one slash is for many.

    Escapes that stay have upper-case digits, as those of `spelled`. A path of nothing but slashes
    ends as two of them.
    """
    kept: list[str] = []
    segments = canonical(_SLASH.sub("/", path)).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    merged = "/".join(segment for segment in kept if segment)
    return _upper(f"/{merged}/" if len(kept) > 1 and not kept[-1] else f"/{merged}")


@lru_cache(maxsize=_PATTERNS_REMEMBERED)
def spelled(pattern: PathPattern) -> PathPattern:
    """*pattern*, to be held against a `normalized` path."""
    parts = (
        part if part.startswith("{") else _upper(canonical(part))
        for part in pattern.text.split("/")
    )
    return PathPattern(pattern.kind, "/".join(parts), _upper(canonical(pattern.prefix)))


def query_of(text: str) -> dict[str, str]:
    """The parameters of the query *text* as they were sent; of those with one name the first."""
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if part:
            query.setdefault(name, value)
    return query


def query_matches(condition: ValueMatch, value: str | None) -> bool:
    """Whether *value*, a parameter as it was sent, is as *condition* says."""
    if value is not None and condition.kind is ValueMatchKind.EXACT:
        return re.fullmatch(as_sent(condition.value), value) is not None
    if value is not None and condition.kind is ValueMatchKind.PREFIX:
        return re.match(as_sent(condition.value), value) is not None
    return value_matches(condition, value)


def as_sent(text: str) -> str:
    """A regex for *text* as a client may send it in a query, where it may have to be escaped."""
    if UNRESERVED.fullmatch(text):
        return re.escape(text)
    return "".join(_sent(character) for character in text)


def _sent(character: str) -> str:
    if UNRESERVED.fullmatch(character):
        return re.escape(character)
    if character == " ":
        return r"(?:\+|%20)"
    escaped = f"(?i:{quote_plus(character)})"
    if character in "+&#%" or not character.isprintable():
        return escaped  # these mean something else when they are not escaped
    return f"(?:{re.escape(character)}|{escaped})"


def _upper(path: str) -> str:
    return ESCAPE.sub(lambda found: found[0].upper(), path) if "%" in path else path
