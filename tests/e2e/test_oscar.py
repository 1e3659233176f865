"""The example: the shop and the service give the same facts at the same addresses."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from moreton.strangler.agent import Standing, Told
from support.oscar_asked import NOWHERE, SEEDED, Asked, ask_all
from support.ports import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "oscar"
PATIENCE_SECONDS = 60.0
PRODUCTS = 64
PAGE = "/catalogue/figs-in-winter_3/"

pytestmark = [pytest.mark.e2e, pytest.mark.long]

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
# What a GET of oscar's own does, and of the one that is seeded.
BEHIND_A_GET = {
    "GET /accounts/alerts/cancel/<int:pk>/": "sql UPDATE customer_productalert",
    "GET /accounts/logout/": "sql DELETE django_session",
    "GET /accounts/notifications/<int:pk>/": "sql UPDATE communication_notification",
    "GET /accounts/wishlists/add/<int:product_pk>/": "sql UPDATE wishlists_line",
    r"GET /catalogue/(?P<product_slug>[\w-]*)_(?P<pk>\d+)/$": "sql UPDATE analytics_productrecord",
    "GET /seeded/<int:number>/": "sql UPDATE django_site",
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


@pytest.fixture(scope="module")
def asked(shop: httpx.Client, state: Path) -> Sequence[Asked]:
    """The routes of a copy of the shop, as its agent, its database and a candidate saw them."""
    return ask_all(copied(shop, state, "watched"), whole=False)


def copied(shop: httpx.Client, state: Path, name: str) -> Path:
    """A shop of its own."""
    assert shop.get(PAGE).status_code == httpx.codes.OK
    copy = state / name / "shop"
    shutil.copytree(state / "shop", copy, ignore=shutil.ignore_patterns("shop.sqlite*"))
    source, target = (sqlite3.connect(at / "shop.sqlite") for at in (state / "shop", copy))
    with closing(source), closing(target):
        source.backup(target)
    return copy


def test_no_request_that_wrote_was_ever_copied(asked: Sequence[Asked]) -> None:
    assert_no_write_is_copied(asked, writing_min=20, copied_min=30)


def assert_no_write_is_copied(asked: Sequence[Asked], *, writing_min: int, copied_min: int) -> None:
    wrote = [one for one in asked if one.wrote]
    assert len({one.endpoint for one in wrote}) >= writing_min, "the database saw too few"
    assert [one for one in wrote if one.copied] == []
    assert [one for one in asked if one.copies_wrote] == []
    # The agent knows of all that the database saw, by the right names.
    seen = [one for one in wrote if one.was_shown]
    assert [one for one in seen if one.told != Told(one.endpoint, Standing.WROTE)] == []
    assert len({one.endpoint for one in asked if one.copied}) >= copied_min
    assert all(one.told.may_copy for one in asked if one.copied)
    assert [one for one in asked if one.route == NOWHERE and one.copied] == [], "nobody knows these"
    assert {one.leaked for one in asked} == {""}, "that is for the collector alone"


def test_a_get_that_writes_one_time_in_three_is_copied_until_it_did(
    asked: Sequence[Asked],
) -> None:
    seeded = [one for one in asked if one.route == SEEDED and one.method == "GET"]
    assert [one.wrote for one in seeded] == [False, False, True, False, False]
    may = [True, True, False, False, False]
    assert [one.copied for one in seeded] == [
        each and one.was_shown for each, one in zip(may, seeded, strict=True)
    ]


def test_a_route_that_writes_behind_a_get_is_found_and_named(
    asked: Sequence[Asked], state: Path
) -> None:
    file = state / "watched" / "shop" / "effects.sqlite"
    done = subprocess.run(
        [sys.executable, "-m", "moreton.cli.main", "migrate", "effects", "--json"],
        env={**os.environ, "MORETON_EFFECTS": str(file)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    known = {one["endpoint"]: one for one in json.loads(done.stdout)["endpoints"]}
    assert {one.endpoint for one in asked if one.wrote} <= {
        name for name, one in known.items() if one["standing"] == "writes"
    }
    for endpoint, effect in BEHIND_A_GET.items():
        assert known[endpoint]["standing"] == "writes"
        assert effect in {f"{one['kind']} {one['what']}" for one in known[endpoint]["effects"]}


@pytest.mark.soak
def test_no_write_of_any_route_is_copied_when_the_shop_is_asked_again(
    shop: httpx.Client, state: Path
) -> None:
    asked = ask_all(copied(shop, state, "whole"), whole=True, rounds=2, ask_twice=1)
    assert len({one.route for one in asked}) >= 165
    assert_no_write_is_copied(asked, writing_min=45, copied_min=200)
