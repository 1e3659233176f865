"""Product pages of the shop at the shop's own addresses: `python -m catalogue.service PORT`."""

import html
import os
import re
import secrets
import sqlite3
import sys
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from catalogue.extract import extract

STATE = Path(os.environ.get("SHOP_STATE", Path(__file__).parent.parent / ".moreton" / "shop"))
SHOP_DATABASE = STATE / "shop.sqlite"
DATABASE = STATE.parent / "catalogue" / "catalogue.sqlite"
_ADDRESS = re.compile(r"[\w-]*_(?P<id>\d{1,18})")  # SQLite's integers have 18 digits and more
SHOP_SECONDS_MAX = 45
_SERVED_BY = {"x-served-by": "catalogue"}
_CSRF_COOKIE = "csrftoken"  # Django's; the basket's form is answered by the monolith
_PAGE = """<!DOCTYPE html>
<html lang="en-gb">
<head>
<title>{title} | Fig Tree Books</title>
<meta charset="utf-8">
<link rel="stylesheet" type="text/css" href="/static/oscar/css/styles.css">
</head>
<body>
<div class="container page"><div class="page_inner"><div class="content">
<nav><a href="/catalogue/">All products</a> / {category}</nav>
<article class="product_page">
<div class="product_main">
<h1>{title}</h1>
<p class="price_color">{price}</p>
<p class="availability">{availability}</p>
{basket}
</div>
<h2>Product Description</h2>
<div id="product_description">{description}</div>
<h2>Product Information</h2>
<table class="table table-striped">
<tr><th>UPC</th><td>{upc}</td></tr>
<tr><th>Product Type</th><td>{kind}</td></tr>
<tr><th>Availability</th><td>{availability}</td></tr>
</table>
</article>
</div></div></div>
</body>
</html>
"""
_BASKET = """<form id="add_to_basket_form" action="/basket/add/{id}/" method="post">
<input type="hidden" name="csrfmiddlewaretoken" value="{token}">
<input type="hidden" name="quantity" value="1">
<button type="submit" class="btn btn-lg btn-primary">Add to cart</button>
</form>"""


def product_page(request: Request) -> Response:
    """The page of one product; 301 to its right address, 404 without it."""
    found = _ADDRESS.fullmatch(request.path_params["product"])
    row = _product(int(found["id"])) if found else None
    if found is None or row is None:
        return PlainTextResponse("no such product", status_code=404, headers=_SERVED_BY)
    right = f"{row['slug']}_{row['id']}"
    if found[0] != right:
        return RedirectResponse(f"/catalogue/{right}/", status_code=301, headers=_SERVED_BY)
    token = request.cookies.get(_CSRF_COOKIE) or secrets.token_hex(16)
    answer = HTMLResponse(_render(row, token), headers=_SERVED_BY)
    if _CSRF_COOKIE not in request.cookies:
        answer.set_cookie(_CSRF_COOKIE, token, max_age=31_449_600, samesite="lax")
    return answer


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
            "select * from product where id = ?", (number,)
        ).fetchone()
    return row


def _render(row: sqlite3.Row, token: str) -> str:
    stock = row["in_stock"]
    basket = _BASKET.format(id=row["id"], token=html.escape(token)) if stock > 0 else ""
    return _PAGE.format(
        basket=basket,
        title=html.escape(row["title"]),
        category=html.escape(row["category"]),
        price=f"£{row['pence'] // 100}.{row['pence'] % 100:02}",
        availability=f"In stock ({stock} available)" if stock > 0 else "Unavailable",
        description=row["description"],  # written by the shop's own staff, as in the monolith
        upc=html.escape(row["upc"]),
        kind=html.escape(row["kind"]),
    )


app = Starlette(
    routes=[
        Route("/catalogue/{product}/", product_page),
        Route("/healthz", health),
    ]
)


def main() -> None:
    """Copy the products on the first start, then serve."""
    if not DATABASE.exists():
        _wait_for_shop()
        print(f"copied {extract(SHOP_DATABASE, DATABASE)} products", flush=True)
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
