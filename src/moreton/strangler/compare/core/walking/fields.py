"""Compares status and header fields; cookies by name, and by what they may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moreton.strangler.compare.core.answers import Answer, parse_media_type
from moreton.strangler.compare.core.differences import Kind
from moreton.strangler.compare.core.walking.finding import Findings

# Fields whose values are a set of names: neither order nor letters' size count.
_SETS = frozenset(
    {
        "accept-ranges",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-expose-headers",
        "allow",
        "cache-control",
        "vary",
    }
)


def compare_heads(primary: Answer, candidate: Answer, found: Findings) -> None:
    """Tells *found* where status, header fields and cookies differ."""
    if primary.status != candidate.status:
        found.add("status", Kind.VALUE, primary.status, candidate.status)
    if primary.headers == candidate.headers:
        return
    ours, theirs = _fields(primary.headers), _fields(candidate.headers)
    _compare("header:", ours, theirs, found)
    _compare("cookie:", _cookies(primary.headers), _cookies(candidate.headers), found)


def _compare(
    prefix: str, ours: Mapping[str, str], theirs: Mapping[str, str], found: Findings
) -> None:
    for name, one in ours.items():
        other = theirs.get(name)
        if other is None:
            # A cookie that is not there has no attributes either, which is said once.
            if prefix == "header:" or name.partition(";")[0] in theirs or ";" not in name:
                found.missing(prefix + name, one)
        elif one != other and _meaning(name, one) != _meaning(name, other):
            found.add(prefix + name, Kind.VALUE, one, other)
    for name, other in theirs.items():
        if name not in ours and (
            prefix == "header:" or name.partition(";")[0] in ours or ";" not in name
        ):
            found.surplus(prefix + name, other)


def _fields(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in headers:
        if name != "set-cookie":
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _cookies(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each cookie's value by its name, and each of its attributes by `name;attribute`.

    Of one that is set twice there are both values: which one holds is up to the browser.
    """
    cookies: dict[str, str] = {}
    for field, value in headers:
        if field != "set-cookie":
            continue
        first, *attributes = value.split(";")
        name, _, content = first.partition("=")
        name = name.strip()
        content = content.strip()
        cookies[name] = f"{cookies[name]}, {content}" if name in cookies else content
        for attribute in attributes:
            key, _, setting = attribute.partition("=")
            cookies[f"{name};{key.strip().lower()}"] = setting.strip()
    return cookies


def _meaning(name: str, value: str) -> object:
    if name == "content-type":
        media = parse_media_type(value)
        return (media.name, media.charset) if media.name else value
    if name in _SETS:
        return frozenset(part.strip().lower() for part in value.split(","))
    return value
