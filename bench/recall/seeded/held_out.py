"""Regressions that nobody looked at while the comparer was worked on: a check of its generality."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bench.recall.seeded.seed import (
    Asked,
    Regression,
    below,
    header,
    is_json,
    member,
    status,
    text,
    value,
)
from moreton.strangler.compare import Answer

BOOK, VALUE, MOVED = "/catalogue/x_{}/", "/api/products/{}/", "/catalogue/moved_{}/"
PRICE, STOCK, COUNTRIES = VALUE + "price/", VALUE + "availability/", "/api/countries/"
LOGIN, OFFERS, SEARCH = "/accounts/login/", "/offers/", "/search/?q=figs"
_BOOK = below("/catalogue/")
_ADVISED = r'(class="advised">£)(\d+)\.(\d\d)'


def _dear(found: Any) -> None:
    for one in found.get("recommended_products", ()):
        one["price"] = f"{float(one['price']) * 10:.2f}"


def _days_ago(found: re.Match[str]) -> str:
    moment = datetime.fromisoformat(found[2]) - timedelta(days=3)
    return f"{found[1]}{moment.isoformat()}"


def _in_percent(found: re.Match[str]) -> str:
    return f"{found[1]}{float(found[2]) * 100:.7f}"


def _in_an_envelope(asked: Asked, answer: Answer) -> Answer:
    if not (is_json(answer) and below(COUNTRIES)(asked)):
        return answer
    return replace(answer, body=b'{"results":' + answer.body + b"}")


HELD_OUT = (
    Regression(
        "a rate in percent", "hidden by noise", PRICE, member("rate", lambda was: was * 100)
    ),
    Regression("always the same rate", "hidden by noise", PRICE, member("rate", lambda _: 1.17)),
    Regression("less than no rate", "hidden by noise", PRICE, member("rate", lambda was: -was)),
    Regression("recommended in pence", "hidden by noise", BOOK, text(_ADVISED, r"\1\2\3")),
    Regression(
        "what is recommended is free", "hidden by noise", BOOK, text(_ADVISED, r"\g<1>0.00")
    ),
    Regression("recommended values ten times as dear", "hidden by noise", VALUE, value(_dear)),
    Regression(
        "thousands are looking",
        "hidden by noise",
        BOOK,
        text(r'(id="looking">)(\d)', r"\g<1>100\2"),
    ),
    Regression(
        "always as many are looking", "hidden by noise", BOOK, text(r'(id="looking">)\d', r"\g<1>5")
    ),
    Regression(
        "a script's number in percent",
        "hidden by noise",
        BOOK,
        text(r"(window\.visit = )([\d.]+)", _in_percent),
    ),
    Regression(
        "all requests have one id",
        "hidden by noise",
        BOOK,
        text(r'(<meta name="request" content=")[^"]*', r"\g<1>51d0c6a1f3b2e497"),
    ),
    Regression(
        "one trace for all",
        "hidden by noise",
        VALUE,
        header("x-trace", lambda _: "8f3c2a9be4d01756", only=below("/api/products/")),
    ),
    Regression(
        "pages of three days ago",
        "stale data",
        BOOK,
        text(r'(<time id="rendered">)([^<]+)', _days_ago),
    ),
    Regression(
        "countries in capitals",
        "case",
        COUNTRIES,
        member("printable_name", str.upper, only=below(COUNTRIES)),
    ),
    Regression("countries in an envelope", "structure", COUNTRIES, _in_an_envelope),
    Regression(
        "a decimal comma", "locale", PRICE, member("incl_tax", lambda was: was.replace(".", ","))
    ),
    Regression(
        "nobody knows what is in stock",
        "missing field",
        STOCK,
        member("num_available", lambda _: None),
    ),
    Regression(
        "no word of the language", "header", LOGIN, header("content-language", lambda _: None)
    ),
    Regression("offers fail", "status", OFFERS, status(200, 500, only=below(OFFERS))),
    Regression(
        "the login goes nowhere",
        "link",
        LOGIN,
        text(r'(<form[^>]*action=")[^"]*', r"\1/", only=below(LOGIN)),
    ),
    Regression(
        "a search finds more than there is",
        "off by one",
        SEARCH,
        text(
            r"<strong>(\d+)</strong>",
            lambda found: f"<strong>{int(found[1]) + 1}</strong>",
            only=below("/search/"),
        ),
    ),
    Regression(
        "moved to where it was",
        "redirect",
        MOVED,
        header("location", lambda _: "/catalogue/moved_1/", only=_BOOK),
    ),
    Regression(
        "cookies for this site alone",
        "cookie",
        BOOK,
        header(
            "set-cookie", lambda one: one.replace("SameSite=Lax", "SameSite=Strict"), only=_BOOK
        ),
    ),
)
