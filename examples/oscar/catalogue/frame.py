"""Pages of products: the monolith's own frame, with a mark wherever a fact goes."""

import html
import json
import re
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

SECONDS_MAX = 30
_TOKEN = re.compile(r'(?<=name="csrfmiddlewaretoken" value=")\w+')
_CREATED = re.compile(r'(?<=<meta name="created" content=")[^"]+')
# Longer ones first: the summary is a part of the description.
_FACTS = (
    "description",
    "summary",
    "address",
    "form",
    "alert",
    "title",
    "upc",
    "kind",
    "price",
    "stock",
)
_TAGS = re.compile(r"<[^>]*>")


def frame(row: sqlite3.Row, url: str) -> str:
    """The page of *row* in the shop at *url*, with marks instead of its facts."""
    page = _asked(f"{url}/catalogue/any_{row['id']}/")
    facts = facts_of(row, token="", now=datetime.now(UTC))
    page = _CREATED.sub(_mark("created"), _TOKEN.sub(_mark("token"), page))
    shelves = re.escape(facts["shelves"]).replace("><", r">\s*<")
    page = re.sub(shelves, _mark("shelves"), page, count=1)
    for name in _FACTS:
        page = page.replace(facts[name], _mark(name))
    return page


def _asked(address: str) -> str:
    """The shop's page at *address*; a shop that only starts is waited for."""
    end = time.monotonic() + SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(address, timeout=SECONDS_MAX) as answer:  # noqa: S310 - the shop's address is given
                if answer.headers["x-served-by"] != "shop":
                    sys.exit(f"{address} is not the shop's; send product pages there first")
                return str(answer.read().decode())
        except urllib.error.URLError as error:
            is_starting = (
                getattr(error, "code", HTTPStatus.SERVICE_UNAVAILABLE) >= HTTPStatus.BAD_GATEWAY
            )
            if not is_starting or time.monotonic() > end:
                sys.exit(f"{address} cannot be had from the shop: {error}; start it first")
        time.sleep(0.1)


def rendered(page: str, facts: Mapping[str, str]) -> str:
    """The *page* of a frame with *facts* at its marks."""
    for name, fact in facts.items():
        page = page.replace(_mark(name), fact)
    return page


def facts_of(row: sqlite3.Row, *, token: str, now: datetime) -> Mapping[str, str]:
    """What a page says of the product *row*, as it says it in HTML, by the name of its mark."""
    stock, pence = row["in_stock"], row["pence"]
    return {
        "token": html.escape(token),
        "created": f"{now.day}{_ordinal(now.day)} {now:%b %Y %H:%M}",
        "shelves": "".join(
            f'<li class="breadcrumb-item"><a href="{address}">{html.escape(name)}</a></li>'
            for address, name in json.loads(row["crumbs"])
        ),
        "description": row["description"],  # written by the shop's own staff, as in the monolith
        "summary": _TAGS.sub("", row["description"]),
        "address": f"/catalogue/{row['slug']}_{row['id']}/",
        "form": f"/basket/add/{row['id']}/",
        "alert": f"/accounts/alerts/create/{row['id']}/",
        "title": html.escape(row["title"]),
        "upc": html.escape(row["upc"]),
        "kind": f"<td>{html.escape(row['kind'])}</td>",
        "price": f"£{pence // 100}.{pence % 100:02}",
        "stock": f"In stock ({stock} available)" if stock > 0 else "Unavailable",
    }


def _mark(name: str) -> str:
    return f"[[{name}]]"


def _ordinal(day: int) -> str:
    teens = range(11, 14)
    return "th" if day in teens else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
