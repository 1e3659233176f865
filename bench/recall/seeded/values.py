"""Regressions of what the REST API answers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from bench.recall.seeded.seed import (
    Asked,
    Change,
    Regression,
    below,
    is_json,
    member,
    one_in,
    value,
)
from moreton.strangler.compare import Answer

PRICE, STOCK = "/api/products/{}/price/", "/api/products/{}/availability/"
BOOK, BOOKS = "/api/products/{}/", "/api/products/"
RECORDS = "/api/products/{}/stockrecords/"


def _times(text: str, factor: str) -> str:
    return str((Decimal(text) * Decimal(factor)).quantize(Decimal("0.01")))


def _swapped(found: Any) -> None:
    found[3], found[4] = found[4], found[3]


def _without(name: str) -> Change:
    def edit(found: Any) -> None:
        for one in found if isinstance(found, list) else [found]:
            one.pop(name, None)

    return value(edit, only=below("/api/products/"))


def _torn(_: Asked, answer: Answer) -> Answer:
    return replace(answer, body=answer.body[: len(answer.body) // 2]) if is_json(answer) else answer


class _Stale:
    """What was answered first, whatever changes."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        path = asked.path

        def edit(found: Any) -> None:
            now = found.get("num_available")
            if now is not None:
                found["num_available"] = self._first.setdefault(path, now)

        return value(edit, only=lambda asked: asked.path.endswith("/availability/"))(asked, answer)


VALUES = (
    Regression(
        "tax is added twice", "price", PRICE, member("incl_tax", lambda was: _times(was, "1.2"))
    ),
    Regression(
        "every eighth book costs ten pence more",
        "price",
        PRICE,
        member("excl_tax", lambda was: str(Decimal(was) + Decimal("0.10")), only=one_in(8)),
        step=8,
    ),
    Regression("prices in euros", "price", PRICE, member("currency", lambda _: "EUR")),
    Regression(
        "prices are cut to whole pounds",
        "rounding",
        PRICE,
        member("excl_tax", lambda was: was.partition(".")[0] + ".00"),
    ),
    Regression(
        "prices are rounded to ten pence",
        "rounding",
        PRICE,
        member("incl_tax", lambda was: str(round(Decimal(was), 1)) + "0"),
    ),
    Regression(
        "a penny less where a price ends in 9",
        "rounding",
        PRICE,
        member("incl_tax", lambda was: was[:-1] + "8" if was[-1] == "9" else was),
    ),
    Regression("a price is a number, no longer a text", "type", PRICE, member("incl_tax", float)),
    Regression("ids are texts", "type", BOOKS, member("id", str, only=below(BOOKS))),
    Regression("a count is 3.0 instead of 3", "type", STOCK, member("num_available", float)),
    Regression(
        "an empty text instead of null",
        "type",
        RECORDS,
        member("low_stock_threshold", lambda _: ""),
    ),
    Regression(
        "a truth is a text",
        "type",
        STOCK,
        member("is_available_to_buy", lambda was: str(was).lower()),
    ),
    Regression("the code of a book is missing", "missing field", BOOK, _without("upc")),
    Regression(
        "a description is null",
        "missing field",
        BOOK,
        member("description", lambda _: None, only=one_in(4)),
        step=4,
    ),
    Regression(
        "a book has no categories", "missing field", BOOK, member("categories", lambda _: [])
    ),
    Regression(
        "what the query was is told",
        "extra field",
        BOOK,
        value(lambda found: {**found, "_sql": "SELECT 1"} if "structure" in found else None),
    ),
    Regression(
        "what a book cost the shop is told",
        "extra field",
        RECORDS,
        value(
            lambda found: [{**found[0], "cost_price": "3.10"}],
            only=lambda asked: asked.path.endswith("/stockrecords/"),
        ),
    ),
    Regression(
        "the oldest book first",
        "order",
        BOOKS,
        value(lambda found: found[::-1], only=lambda asked: asked.path == BOOKS),
    ),
    Regression(
        "two books change places",
        "order",
        BOOKS,
        value(_swapped, only=lambda asked: asked.path == BOOKS),
    ),
    Regression(
        "one book too few",
        "pagination",
        BOOKS,
        value(lambda found: found[:-1], only=lambda asked: asked.path == BOOKS),
    ),
    Regression(
        "the first book twice",
        "duplicate",
        BOOKS,
        value(lambda found: [found[0], *found], only=lambda asked: asked.path == BOOKS),
    ),
    Regression(
        "one more in stock than there is",
        "off by one",
        STOCK,
        member("num_available", lambda was: was + 1 if was else was),
    ),
    Regression("the stock of yesterday", "stale data", "/api/products/3/availability/", _Stale()),
    Regression(
        "to be bought or not, the wrong way round",
        "off by one",
        STOCK,
        member("is_available_to_buy", lambda was: not was),
        step=9,
    ),
    Regression(
        "the day before",
        "time",
        BOOK,
        member("date_created", lambda was: f"{was[:8]}{int(was[8:10]) - 1:02}{was[10:]}"),
    ),
    Regression(
        "a moment without its fraction",
        "time",
        BOOK,
        member("date_updated", lambda was: was[:19] + "Z"),
    ),
    Regression(
        "another zone, and the same hour",
        "time",
        RECORDS,
        member("date_updated", lambda was: was.replace("Z", "+01:00")),
    ),
    Regression(
        "tags of a description are escaped",
        "encoding",
        BOOK,
        member("description", lambda was: was.replace("<", "&lt;").replace(">", "&gt;")),
    ),
    Regression(
        "a description is cut", "truncation", BOOK, member("description", lambda was: was[:12])
    ),
    Regression("the body ends in its middle", "truncation", BOOK, _torn),
    Regression(
        "another's basket",
        "identity",
        "/api/basket/",
        member(
            "owner", lambda _: "http://127.0.0.1/api/users/1/", only=lambda asked: not asked.user
        ),
    ),
)
