"""Regressions of status, header fields, cookies and redirects."""

from __future__ import annotations

from dataclasses import replace

from bench.recall.seeded.seed import (
    Asked,
    Change,
    Regression,
    added,
    below,
    header,
    is_json,
    one_in,
    status,
)
from moreton.strangler.compare import Answer

BOOK, MOVED = "/catalogue/x_{}/", "/catalogue/moved_{}/"
_UNKNOWN = "/api/products/999/"


def _cookie(name: str, was: str, now: str) -> Change:
    def edit(value: str) -> str:
        return value.replace(was, now) if value.startswith(f"{name}=") else value

    return header("set-cookie", edit)


def _redirected(was: str, now: str) -> Change:
    return header("location", lambda value: value.replace(was, now))


def _flaky(asked: Asked, answer: Answer) -> Answer:
    if asked.turn % 10 or not is_json(answer):
        return answer
    return replace(answer, status=503, body=b'{"detail":"busy"}')


HEADS = (
    Regression(
        "an unknown book is an empty one",
        "status",
        _UNKNOWN,
        status(404, 200, only=below("/api/"), body=b"{}"),
    ),
    Regression(
        "one book of 16 fails",
        "status",
        "/api/products/{}/",
        status(
            200,
            500,
            only=lambda asked: (
                below("/api/products/")(asked) and asked.number > 0 and one_in(16)(asked)
            ),
        ),
        step=16,
    ),
    Regression("one answer of ten fails", "status", "/api/products/{}/price/", _flaky),
    Regression("gone instead of not found", "status", "/nowhere/", status(404, 410)),
    Regression("moved for now, no longer for good", "redirect", MOVED, status(301, 302)),
    Regression(
        "a redirect to a host inside",
        "redirect",
        MOVED,
        _redirected("/catalogue/", "http://shop.internal/catalogue/"),
    ),
    Regression(
        "a redirect without its last stroke",
        "redirect",
        MOVED,
        header("location", lambda value: value.rstrip("/")),
    ),
    Regression(
        "after the login, nowhere",
        "redirect",
        "/accounts/",
        header("location", lambda value: value.partition("?")[0]),
    ),
    Regression(
        "caches no longer tell cookies apart",
        "header",
        BOOK,
        header("vary", lambda value: value.replace(", Cookie", "")),
    ),
    Regression(
        "the wrong language is told",
        "header",
        BOOK,
        header("content-language", lambda _: "en"),
        language="de",
    ),
    Regression(
        "more methods than there are",
        "header",
        "/api/products/",
        header("allow", lambda value: f"{value}, DELETE"),
    ),
    Regression(
        "a basket that caches keep",
        "header",
        "/basket/",
        added("cache-control", "public, max-age=600", only=lambda asked: asked.path == "/basket/"),
    ),
    Regression(
        "no mark of the version",
        "header",
        "/api/categories/",
        header("etag", lambda _: None, only=below("/api/")),
    ),
    Regression("frames are allowed", "security", BOOK, header("x-frame-options", lambda _: None)),
    Regression(
        "types may be guessed",
        "security",
        "/api/categories/",
        header("x-content-type-options", lambda _: None),
    ),
    Regression(
        "another charset is told",
        "encoding",
        BOOK,
        header("content-type", lambda value: value.replace("utf-8", "iso-8859-1")),
    ),
    Regression(
        "JSON as text",
        "header",
        "/api/countries/",
        header("content-type", lambda value: value.replace("application/json", "text/plain")),
    ),
    Regression(
        "scripts may read the history", "cookie", BOOK, _cookie("oscar_history", " HttpOnly;", "")
    ),
    Regression(
        "the token goes to any site",
        "cookie",
        BOOK,
        _cookie("csrftoken", "SameSite=Lax", "SameSite=None"),
    ),
    Regression(
        "the history is kept for a part",
        "cookie",
        BOOK,
        _cookie("oscar_history", "Path=/", "Path=/catalogue"),
    ),
    Regression(
        "the history forgets",
        "cookie",
        BOOK,
        header("set-cookie", lambda value: None if value.startswith("oscar_hist") else value),
    ),
    Regression(
        "a cookie for a day, no longer a week",
        "cookie",
        BOOK,
        _cookie("oscar_history", "Max-Age=604800", "Max-Age=86400"),
    ),
)
