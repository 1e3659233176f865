"""What a regression is: a change of an answer, in those requests that it concerns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from moreton.strangler.compare import Answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the shop got it; *turn* counts those of a regression."""

    method: str
    path: str
    query: str = ""
    language: str = "en"
    user: bool = False
    turn: int = 0

    @property
    def number(self) -> int:
        """The number of the book or thing that the address names; 0 if none."""
        found = re.search(r"(\d+)/?(?:[a-z]+/)?$", self.path)
        return int(found[1]) if found else 0


Change: TypeAlias = Callable[[Asked, Answer], Answer]
Only: TypeAlias = Callable[[Asked], bool]


@dataclass(frozen=True, slots=True)
class Regression:
    """*name* says what is wrong; *where* is an address at which it shows, in some requests.

    It shows to those of *language*, to a *user* or to a guest, and of things whose number *step*
    divides; requests that it does not concern are asked in between.
    """

    name: str
    kind: str
    where: str
    change: Change
    language: str = ""
    user: bool | None = None
    step: int = 1
    held_out: bool = False


def always(_: Asked) -> bool:
    return True


def is_html(answer: Answer) -> bool:
    return answer.status == 200 and (answer.header("content-type") or "").startswith("text/html")


def is_json(answer: Answer) -> bool:
    return answer.status == 200 and answer.header("content-type") == "application/json"


def text(
    pattern: str,
    instead: str | Callable[[re.Match[str]], str],
    *,
    count: int = 0,
    only: Only = always,
) -> Change:
    """Put *instead* where *pattern* is found in a page."""
    compiled = re.compile(pattern, re.DOTALL)

    def change(asked: Asked, answer: Answer) -> Answer:
        if not (is_html(answer) and only(asked)):
            return answer
        page = compiled.sub(instead, answer.body.decode(), count=count)
        return replace(answer, body=page.encode())

    return change


def value(edit: Callable[[Any], Any], *, only: Only = always) -> Change:
    """What *edit* makes of a JSON value; it may change it in place, and then returns `None`."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if not (is_json(answer) and only(asked)):
            return answer
        found = json.loads(answer.body)
        before = json.dumps(found)
        edited = edit(found)
        made = json.dumps(found if edited is None else edited, separators=(",", ":"))
        same = json.dumps(json.loads(made)) == before
        return answer if same else replace(answer, body=made.encode())

    return change


def member(name: str, edit: Callable[[Any], Any], *, only: Only = always) -> Change:
    """What *edit* makes of the member *name* of an object, or of each in a list."""

    def every(found: Any) -> None:
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, dict) and name in one:
                one[name] = edit(one[name])

    return value(every, only=only)


def header(name: str, edit: Callable[[str], str | None], *, only: Only = always) -> Change:
    """What *edit* makes of the field *name*; nothing is left of it where that is `None`."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if not only(asked):
            return answer
        headers = []
        for key, one in answer.headers:
            made = edit(one) if key == name else one
            if made is not None:
                headers.append((key, made))
        return replace(answer, headers=headers)

    return change


def added(name: str, one: str, *, only: Only = always) -> Change:
    """One field more."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if not only(asked):
            return answer
        return replace(answer, headers=[*answer.headers, (name, one)])

    return change


def status(was: int, now: int, *, only: Only = always, body: bytes | None = None) -> Change:
    """*now* instead of *was*."""

    def change(asked: Asked, answer: Answer) -> Answer:
        if answer.status != was or not only(asked):
            return answer
        return replace(answer, status=now, body=answer.body if body is None else body)

    return change


def below(prefix: str) -> Only:
    """Requests whose path begins so."""
    return lambda asked: asked.path.startswith(prefix)


def one_in(count: int, rest: int = 0) -> Only:
    """Requests for those things whose number leaves *rest* when divided by *count*."""
    return lambda asked: asked.number % count == rest


def both(*several: Only) -> Only:
    return lambda asked: all(one(asked) for one in several)
