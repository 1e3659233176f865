"""Regressions where answers differ from themselves anyway, and those that come and go."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from bench.recall.seeded.seed import Asked, Regression, below, header, member, text, value

BOOK = "/catalogue/x_{}/"
_BOOK = below("/catalogue/")
_RENDERED = r'(<time id="rendered">)([^<]+)'


def _earlier(found: re.Match[str]) -> str:
    moment = datetime.fromisoformat(found[2]) - timedelta(hours=1)
    return f"{found[1]}{moment.isoformat()}"


def _ten_times(found: re.Match[str]) -> str:
    return f"{found[1]}{float(found[2]) * 10:.2f}"


def _quarter(asked: Asked) -> bool:
    return asked.turn % 4 == 0


def _seconds(text: Any) -> Any:
    return int(datetime.fromisoformat(text).timestamp())


HIDDEN = (
    Regression(
        "what is recommended costs ten times as much",
        "hidden by noise",
        BOOK,
        text(r'(class="advised">£)(\d+\.\d\d)', _ten_times),
    ),
    Regression(
        "what is recommended leads nowhere",
        "hidden by noise",
        BOOK,
        text(r'(<a class="advice" href=")[^"]*', r"\1/catalogue/none_0/"),
    ),
    Regression(
        "one recommendation too few",
        "hidden by noise",
        BOOK,
        text(r"<li>(<a class=\"advice\".*?</li>)", "", count=1),
    ),
    Regression("the clock is an hour slow", "hidden by noise", BOOK, text(_RENDERED, _earlier)),
    Regression(
        "the request has no id",
        "hidden by noise",
        BOOK,
        text(r'(<meta name="request" content=")[^"]*', r"\1None"),
    ),
    Regression(
        "seconds instead of a moment",
        "hidden by noise",
        "/api/products/{}/",
        member("generated_at", _seconds),
    ),
    Regression(
        "no trace of the request",
        "hidden by noise",
        "/api/products/{}/",
        header("x-trace", lambda _: None),
    ),
    Regression(
        "a trace is cut in half",
        "hidden by noise",
        "/api/products/{}/",
        header("x-trace", lambda was: was[:8]),
    ),
    Regression(
        "a rate a thousand times too small",
        "hidden by noise",
        "/api/products/{}/price/",
        member("rate", lambda was: round(was / 1000, 6)),
    ),
    Regression(
        "fewer than nobody is looking",
        "hidden by noise",
        BOOK,
        text(r'(id="looking">)(\d+)', r"\1-\2"),
    ),
    Regression(
        "one label too few, in any order",
        "hidden by noise",
        "/api/products/{}/",
        value(
            lambda found: {**found, "labels": found["labels"][:-1]} if "labels" in found else None
        ),
    ),
    Regression(
        "one page of four lacks its price",
        "now and then",
        BOOK,
        text(
            r'<p class="price_color">.*?</p>',
            "",
            only=lambda asked: _BOOK(asked) and _quarter(asked),
        ),
    ),
)
