"""The example: the shop and the service give the same facts at the same addresses."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.ports import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "oscar"
PATIENCE_SECONDS = 60.0
PRODUCTS = 64
PAGE = "/catalogue/figs-in-winter_3/"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FACTS = {
    "title": r"<h1>(.*?)</h1>",
    "price": r'<p class="price_color">(.*?)</p>',
    "availability": r'<p class="[^"]*\bavailability\b[^"]*">(.*?)</p>',
    "description": r"<h2>Product Description</h2>\s*</?div[^>]*>(.*?)</p>",
    "upc": r"<th>UPC</th>\s*<td>(.*?)</td>",
    "kind": r"<th>Product Type</th>\s*<td>(.*?)</td>",
    # A page of what cannot be bought has none.
    "basket": r'(?:<form id="add_to_basket_form" action="(.*?)".*)?</html>',
}


def facts(page: str) -> dict[str, str]:
    """What a page says, without how it says it."""
    found = {}
    for name, pattern in FACTS.items():
        match = re.search(pattern, page, re.DOTALL)
        assert match is not None, f"the page says nothing of {name}:\n{page}"
        found[name] = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", match[1] or "")).split())
    return found


@contextmanager
def running(module: str, state: Path, ready: str, shop_url: str = "") -> Iterator[httpx.Client]:
    """The program of the example, once it answers."""
    url = f"http://127.0.0.1:{free_port()}"
    log = state / f"{module}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, url.rpartition(":")[2]],
            cwd=EXAMPLE,
            env={**os.environ, "SHOP_STATE": str(state / "shop"), "SHOP_URL": shop_url},
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_ready(client, ready, process, log)
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def wait_ready(
    client: httpx.Client, path: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if client.get(path).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oscar")


@pytest.fixture(scope="module")
def shop(state: Path) -> Iterator[httpx.Client]:
    with running("shop.start", state, "/catalogue/") as client:
        yield client


@pytest.fixture(scope="module")
def service(shop: httpx.Client, state: Path) -> Iterator[httpx.Client]:
    assert shop.get(PAGE).status_code == httpx.codes.OK
    with running("catalogue.service", state, "/healthz", str(shop.base_url)) as client:
        yield client


def products(shop: httpx.Client) -> list[str]:
    """The address of every product, from the shop's own list."""
    found: list[str] = []
    for number in range(1, 10):
        answer = shop.get("/catalogue/", params={"page": number})
        if answer.status_code != httpx.codes.OK:
            break
        found += re.findall(r'<h3 class="mt-3">\s*<a href="(/catalogue/[^"]+)"', answer.text)
    return found


def test_every_product_page_gives_the_same_facts_from_both(
    shop: httpx.Client, service: httpx.Client
) -> None:
    addresses = products(shop)
    assert len(set(addresses)) == len(addresses) == PRODUCTS
    seen, for_sale = set(), 0
    for address in addresses:
        before, after = shop.get(address), service.get(address)
        assert (before.status_code, after.status_code) == (200, 200)
        assert facts(after.text) == facts(before.text)
        seen.add(facts(before.text)["upc"])
        for_sale += facts(before.text)["basket"] != ""
    assert 0 < for_sale < PRODUCTS
    assert len(seen) == PRODUCTS


def test_each_says_who_answered(shop: httpx.Client, service: httpx.Client) -> None:
    assert shop.get(PAGE).headers["x-served-by"] == "shop"
    assert service.get(PAGE).headers["x-served-by"] == "catalogue"
    assert service.get("/catalogue/nothing_999/").headers["x-served-by"] == "catalogue"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PAGE, 200),
        ("/catalogue/an-old-title_3/", 301),
        ("/catalogue/nothing_999/", 404),
        ("/catalogue/nothing/", 404),
        ("/catalogue/_3/", 301),
        ("/catalogue/figs-in-winter_03/", 301),
        ("/catalogue/figs-in-winter_3x/", 404),
        ("/catalogue/figs-in-winter_99999999999999999999/", 404),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_both_answer_an_address_with_the_same_status_and_place(
    shop: httpx.Client, service: httpx.Client, path: str, status: int, method: str
) -> None:
    before, after = shop.request(method, path), service.request(method, path)
    assert (before.status_code, after.status_code) == (status, status)
    assert after.headers.get("location") == before.headers.get("location")


def test_basket_of_the_shop_takes_what_the_services_page_sends(
    shop: httpx.Client, service: httpx.Client
) -> None:
    page = service.get(PAGE)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token is not None
    form = {"csrfmiddlewaretoken": token[1], "quantity": "1"}
    # Behind one address, a visitor sends the cookie of either to both.
    shop.cookies.set("csrftoken", service.cookies["csrftoken"])
    added = shop.post(facts(page.text)["basket"], data=form)
    assert added.status_code == httpx.codes.FOUND, "403 would say that the token was refused"
    assert "Figs in Winter" in shop.get("/basket/").text


def test_service_goes_on_without_the_shops_database(
    service: httpx.Client, state: Path, shop: httpx.Client
) -> None:
    before = facts(shop.get(PAGE).text)
    hidden = state / "hidden"
    (state / "shop").rename(hidden)
    try:
        assert facts(service.get(PAGE).text) == before, "its database is its own"
    finally:
        hidden.rename(state / "shop")


def test_shop_keeps_what_it_has_when_it_starts_again(state: Path, shop: httpx.Client) -> None:
    assert shop.get(PAGE).status_code == httpx.codes.OK
    with running("shop.start", state, "/catalogue/") as second:
        assert facts(second.get(PAGE).text) == facts(shop.get(PAGE).text)
