"""Regressions that were held out from the first runs; they have been looked at since."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

from bench.recall.seeded.seed import (
    Asked,
    Change,
    Regression,
    added,
    below,
    header,
    is_html,
    is_json,
    member,
    one_in,
    status,
    text,
    value,
)
from moreton.strangler.compare import Answer

BOOK, VALUE = "/catalogue/x_{}/", "/api/products/{}/"
PRICE, STOCK, SHELVES = VALUE + "price/", VALUE + "availability/", "/api/categories/"
LOGIN, LIST, ORDERS = "/accounts/login/", "/catalogue/", "/accounts/orders/"
SORTED, SCRIPT = "/catalogue/?sort_by=price-asc", "/static/oscar/js/oscar/ui.js"
_BOOK = below("/catalogue/")
_SHELVES = below(SHELVES)


def _marked(asked: Asked, answer: Answer) -> Answer:
    if not (is_json(answer) and _SHELVES(asked)):
        return answer
    return replace(answer, body=b"\xef\xbb\xbf" + answer.body)


def _decomposed(asked: Asked, answer: Answer) -> Answer:
    if not is_html(answer) or asked.language == "en":
        return answer
    return replace(answer, body=unicodedata.normalize("NFD", answer.body.decode()).encode())


def _twice(_: Asked, answer: Answer) -> Answer:
    again = [pair for pair in answer.headers if pair[1].startswith("oscar_history=")]
    other = [(name, one.replace("oscar_history=", "oscar_history=9", 1)) for name, one in again]
    return replace(answer, headers=[*other, *answer.headers])


def _older(asked: Asked, answer: Answer) -> Answer:
    if asked.path != SCRIPT:
        return answer
    return replace(answer, body=answer.body.replace(b"init: function", b"init : function", 1))


def _cookie(was: str, now: str) -> Change:
    return header("set-cookie", lambda one: one.replace(was, now))


def _mixed_up(found: Any) -> Any:
    if isinstance(found, list) and len(found) > 5 and "title" in found[0]:
        found[5]["title"] = found[4]["title"]


def _nested(found: Any) -> Any:
    if "structure" in found:
        found["price"] = {"href": found["price"]}


def _one_book(found: re.Match[str]) -> str:
    return found[1] + found[2] * 4 + found[3]


EARLIER = (
    Regression("a byte order mark before JSON", "encoding", SHELVES, _marked),
    Regression("letters in another normal form", "encoding", LOGIN, _decomposed, language="de"),
    Regression("no document type", "structure", BOOK, text(r"<!DOCTYPE html>\s*", "", only=_BOOK)),
    Regression("a field is nested", "structure", VALUE, value(_nested, only=below("/api/prod"))),
    Regression("a text where a list was", "structure", VALUE, member("categories", ", ".join)),
    Regression(
        "small letters alone",
        "case",
        BOOK,
        text(r"<h1>[^<]+</h1>", lambda found: found[0].lower(), only=_BOOK),
    ),
    Regression("the title of the book before", "wrong item", "/api/products/", value(_mixed_up)),
    Regression("another's order", "wrong item", ORDERS, text("10000(1|2)", "100009"), user=True),
    Regression(
        "pictures without words",
        "attribute",
        BOOK,
        text(r'(<img[^>]*) alt="[^"]*"', r"\1", only=_BOOK),
    ),
    Regression("a label of nothing", "attribute", LIST, text(r'for="id_sort_by"', 'for="id_sort"')),
    Regression(
        "a wish that a guest may make",
        "attribute",
        BOOK,
        text(r' disabled="disabled"', "", only=_BOOK),
        user=False,
    ),
    Regression("less than no tax", "sign", PRICE, member("tax", lambda was: f"-{was}")),
    Regression(
        "nothing in stock",
        "wrong default",
        STOCK,
        member("num_available", lambda was: 0 if was else was),
    ),
    Regression(
        "addresses without a host",
        "link",
        VALUE,
        member("url", lambda was: re.sub(r"http://[^/]+", "", was), only=below("/api/products/")),
    ),
    Regression("a link that is not escaped", "link", LIST, text("%3A", ":")),
    Regression(
        "the next page forgets the order",
        "link",
        SORTED,
        text(
            r"(\?page=2)&amp;sort_by=price-asc|sort_by=price-asc&amp;(page=2)",
            "?page=2",
            only=lambda asked: "sort_by" in asked.query,
        ),
    ),
    Regression(
        "a script is loaded twice",
        "duplicate",
        BOOK,
        text(r'(<script src="/static/oscar/js/oscar/ui.js"></script>)', r"\1\1", only=_BOOK),
    ),
    Regression(
        "any site may read the values",
        "security",
        SHELVES,
        added("access-control-allow-origin", "*", only=_SHELVES),
    ),
    Regression(
        "referrers are told to all",
        "security",
        BOOK,
        header("referrer-policy", lambda _: "unsafe-url", only=_BOOK),
    ),
    Regression(
        "a trace of the fault in one page of four",
        "security",
        BOOK,
        text(
            "</h1>",
            "</h1><pre>Traceback: KeyError</pre>",
            only=lambda asked: _BOOK(asked) and one_in(4)(asked),
        ),
        step=4,
    ),
    Regression(
        "values are kept for an hour",
        "caching",
        "/api/countries/",
        added("cache-control", "max-age=3600", only=below("/api/countries/")),
    ),
    Regression(
        "scripts are never kept",
        "caching",
        SCRIPT,
        header("cache-control", lambda _: "no-store", only=below("/static/")),
    ),
    Regression(
        "a cookie for all hosts",
        "cookie",
        BOOK,
        _cookie("Path=/; SameSite=Lax", "Domain=shop.example; Path=/; SameSite=Lax"),
    ),
    Regression("a cookie that is set twice", "cookie", BOOK, _twice),
    Regression(
        "dates as in America",
        "time",
        BOOK,
        text(r'content="(\d+)\w\w (\w+) (\d{4}) ', r'content="\2 \1, \3 ', only=_BOOK),
    ),
    Regression(
        "an empty page instead of words", "truncation", "/nowhere/", status(404, 404, body=b"")
    ),
    Regression(
        "an error in other words",
        "wrong text",
        "/api/products/999/",
        status(404, 404, only=below("/api/"), body=json.dumps({"detail": "None."}).encode()),
    ),
    Regression("a space in a script", "wrong text", SCRIPT, _older),
    Regression(
        "a user's cart is worth nothing",
        "identity",
        BOOK,
        text(r"(Cart total:</strong>\s*)£\d+\.\d\d", r"\1£0.00"),
        user=True,
        language="en",
    ),
    Regression(
        "totals without pennies",
        "rounding",
        ORDERS,
        text(r"(£\d+)\.00", r"\1"),
        user=True,
        language="en",
    ),
    Regression(
        "the first shelf alone",
        "pagination",
        SHELVES,
        value(lambda found: found[:1], only=_SHELVES),
    ),
    Regression(
        "recommended in dollars", "hidden by noise", BOOK, text(r'(class="advised">)£', r"\1$")
    ),
    Regression(
        "one book recommended four times",
        "hidden by noise",
        BOOK,
        text(r"(<aside><ul>)(<li>.*?</li>).*?(</ul></aside>)", _one_book),
    ),
    Regression(
        "nobody is looking", "hidden by noise", BOOK, text(r'(id="looking">)\d+', r"\g<1>0")
    ),
    Regression(
        "no number in a script",
        "hidden by noise",
        BOOK,
        text(r"(window\.visit = )[\d.]+", r"\1NaN"),
    ),
    Regression(
        "a cache that says another word",
        "hidden by noise",
        VALUE,
        header("x-cache", lambda _: "STALE", only=below("/api/products/")),
    ),
)
