"""Answers, and what comparing them says, in few words."""

from __future__ import annotations

import json
from typing import Any

from moreton.strangler.compare import DEFAULT_RULES, Answer, Rule, Rulebook, compare

Told = tuple[str, str, str, str]


def answer(
    body: Any = b"", kind: str = "application/json", status: int = 200, **headers: str
) -> Answer:
    """An answer of *body*: bytes, a text, or what JSON is made of."""
    data = body if isinstance(body, bytes) else _encoded(body)
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Answer(status, [*([("content-type", kind)] if kind else []), *named], data)


def html(text: str) -> Answer:
    return answer(text, "text/html; charset=utf-8")


def told(primary: Answer, candidate: Answer, *rules: tuple[str, str]) -> list[Told]:
    """Path, kind and both values of each difference, under the default rules and *rules*."""
    book = Rulebook([*DEFAULT_RULES, *(Rule.parse(*rule) for rule in rules)])
    return [
        (one.path, str(one.kind), one.primary, one.candidate)
        for one in compare(primary, candidate, book).differences
    ]


def places(primary: Answer, candidate: Answer, *rules: tuple[str, str]) -> list[str]:
    """`kind path` of each difference."""
    return [f"{kind} {path}" for path, kind, _, _ in told(primary, candidate, *rules)]


def _encoded(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode()
