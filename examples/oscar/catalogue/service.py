"""Product pages of the shop at the shop's own addresses: `python -m catalogue.service PORT`."""

import json
import os
import re
import secrets
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from catalogue.extract import extract
from catalogue.frame import facts_of, rendered

STATE = Path(os.environ.get("SHOP_STATE", Path(__file__).parent.parent / ".moreton" / "shop"))
SHOP_DATABASE = STATE / "shop.sqlite"
DATABASE = STATE.parent / "catalogue" / "catalogue.sqlite"
_ADDRESS = re.compile(r"[\w-]*_(?P<id>\d{1,18})")  # SQLite's integers have 18 digits and more
SHOP_SECONDS_MAX = 45
_SERVED_BY = {"x-served-by": "catalogue"}
SHOP_URL = os.environ.get("SHOP_URL", "http://127.0.0.1:8080")  # the gateway of moreton.yaml
_HISTORY_COOKIE, _HISTORY_MAX = "oscar_history", 20
_CSRF_COOKIE = "csrftoken"  # Django's; the basket's form is answered by the monolith


def product_page(request: Request) -> Response:
    """The page of one product as visitors without a basket see it; 301 to its right address."""
    found = _ADDRESS.fullmatch(request.path_params["product"])
    row = _product(int(found["id"])) if found else None
    if found is None or row is None:
        return PlainTextResponse("no such product", status_code=404, headers=_SERVED_BY)
    right = f"{row['slug']}_{row['id']}"
    if found[0] != right:
        return RedirectResponse(f"/catalogue/{right}/", status_code=301, headers=_SERVED_BY)
    token = request.cookies.get(_CSRF_COOKIE) or secrets.token_hex(16)
    facts = facts_of(row, token=token, now=datetime.now(UTC))
    answer = HTMLResponse(rendered(row["page"], facts), headers={**_SERVED_BY, "vary": "Cookie"})
    history = json.dumps(_history(request, row["id"]))
    week, year = 604_800, 31_449_600
    answer.set_cookie(_HISTORY_COOKIE, history, week, week, samesite="lax", httponly=True)
    answer.set_cookie(_CSRF_COOKIE, token, year, year, samesite="lax")
    return answer


def _history(request: Request, number: int) -> list[int]:
    """The products that a visitor saw last, this one at the end; the monolith shows them."""
    try:
        seen = list(map(int, json.loads(request.cookies.get(_HISTORY_COOKIE, "[]"))))
    except (TypeError, ValueError):
        seen = []
    return [*(each for each in seen if each != number), number][-_HISTORY_MAX:]


def out_of_order(_: Request, error: Exception) -> Response:
    """500 that says who failed."""
    print(f"the database cannot be read: {error}", file=sys.stderr, flush=True)
    return PlainTextResponse("out of order", status_code=500, headers=_SERVED_BY)


def health(_: Request) -> Response:
    """200 once products are there."""
    with _connect() as connection:
        count = connection.execute("select count(*) from product").fetchone()[0]
    return PlainTextResponse(f"{count} products", headers=_SERVED_BY)


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _product(number: int) -> sqlite3.Row | None:
    with _connect() as connection:
        row: sqlite3.Row | None = connection.execute(
            "select * from product join frame on for_sale = (in_stock > 0) where id = ?", (number,)
        ).fetchone()
    return row


app = Starlette(
    routes=[
        Route("/catalogue/{product}/", product_page),
        Route("/healthz", health),
    ],
    exception_handlers={sqlite3.Error: out_of_order},
)


def main() -> None:
    """Copy the products on the first start, then serve."""
    if not DATABASE.exists():
        _wait_for_shop()
        print(f"copied {extract(SHOP_DATABASE, DATABASE, SHOP_URL)} products", flush=True)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8001
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _wait_for_shop() -> None:
    """The shop puts its database there once it is complete."""
    if not SHOP_DATABASE.exists():
        print(f"waiting for the shop to make {SHOP_DATABASE}", flush=True)
    deadline = time.monotonic() + SHOP_SECONDS_MAX
    while not SHOP_DATABASE.exists():
        if time.monotonic() > deadline:
            sys.exit(f"there is no {SHOP_DATABASE} yet; start the shop first")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
