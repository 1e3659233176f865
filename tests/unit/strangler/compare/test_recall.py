"""Regressions of a candidate are found by the judge itself, and noise on both sides is not told of.

The short sibling of `python -m bench recall`: pages and values of a made-up shop in this process.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moreton.envoy.core.copies import COPY_HEADER, Shown
from moreton.kernel.rng import system_rng
from moreton.strangler.compare import Answer
from moreton.strangler.compare.core.documents import Place, Task
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.core.questions import Question
from moreton.strangler.compare.serving.asking import Asker, NoAnswer
from moreton.strangler.compare.serving.judging import Judge, Ready
from moreton.strangler.compare.serving.keeping import Keeper

pytestmark = pytest.mark.slow

LEARNED, EACH = 150, 3
BOOKS = [f"£{number}.99" for number in range(8)]
PAGE = (
    '<html><head><meta name="request" content="{id:016x}"></head><body><h1>Book {book}</h1>'
    '<p class="price">£{book}.50</p><form action="/buy/{book}/"><input name="csrfmiddlewaretoken" '
    'value="{token:064x}"></form><aside>{advised}</aside><time>{now}</time></body></html>'
)


class Shop(Asker):
    """Both services: the candidate's answers are what *fault* makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rng, self.rates = random.Random(8), random.Random(9)
        self.fault: Callable[[Answer], Answer] = lambda answer: answer

    def ask(self, place: Place, question: Question, seconds: float) -> Answer | NoAnswer:  # noqa: ARG002
        answer = self.answer(question.target)
        candidate = dict(question.headers).get(COPY_HEADER) == "candidate"
        return self.fault(answer) if candidate else answer

    def answer(self, target: str) -> Answer:
        book = int(target.rpartition("/")[2])
        rng, now = self.rng, datetime.now(UTC).isoformat()
        fields = [("x-trace", f"{rng.getrandbits(64):016x}"), ("vary", "cookie")]
        advised = [rng.choice(BOOKS) for _ in range(3)]
        if target.startswith("/value"):
            labels = rng.sample(["new", "signed", "gift"], 3)
            body = {"id": book, "price": f"{book}.50", "labels": labels, "at": now, "in": [1, 2],
                    "rate": round(self.rates.uniform(1.16, 1.18), 6)}  # fmt: skip
            fields.append(("content-type", "application/json"))
            return Answer(200, fields, json.dumps(body).encode())
        page = PAGE.format(
            id=rng.getrandbits(64),
            book=book,
            token=rng.getrandbits(256),
            advised="".join(f"<b>{price}</b>" for price in advised),
            now=now,
        )
        return Answer(200, [*fields, ("content-type", "text/html; charset=utf-8")], page.encode())


def put(was: str, now: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, body=answer.body.replace(was.encode(), now.encode(), 1))


def without(name: str) -> Callable[[Answer], Answer]:
    return lambda answer: replace(
        answer, headers=[pair for pair in answer.headers if pair[0] != name]
    )


def an_hour_slow(answer: Answer) -> Answer:
    hour = datetime.now(UTC).isoformat()[:13]
    return put(hour, (datetime.now(UTC) - timedelta(hours=1)).isoformat()[:13])(answer)


def of_one_id(answer: Answer) -> Answer:
    return replace(
        answer, body=re.sub(rb'content="\w{16}', b'content="51d0c6a1f3b2e497', answer.body)
    )


FAULTS: dict[str, tuple[str, Callable[[Answer], Answer]]] = {
    "a wrong price on the page": ("/page/", put(".50", ".51")),
    "a form that buys the next book": ("/page/", put("/buy/", "/buy/1")),
    "no token in the form": ("/page/", put("csrfmiddlewaretoken", "token")),
    "a price that nothing recommended has": ("/page/", put("<b>£", "<b>£9")),
    "a token that is none": ("/page/", put('content="', 'content="-')),
    "a clock in another zone": ("/page/", an_hour_slow),
    "a wrong price in JSON": ("/value/", put('.50"', '.5"')),
    "a label too few, in any order": ("/value/", put('"gift"', "null")),
    "items in another order": ("/value/", put("[1, 2]", "[2, 1]")),
    "no field for caches": ("/value/", without("vary")),
    "no trace": ("/value/", without("x-trace")),
    "another charset": ("/page/", lambda answer: replace(
        answer, headers=[(name, one.replace("utf-8", "latin-1")) for name, one in answer.headers])),
    "a rate ten times too large": ("/value/", put('"rate": 1', '"rate": 11')),
}  # fmt: skip


class House:
    """A judge of *shop* that keeps in *file* what it learns."""

    def __init__(self, shop: Shop, file: Path) -> None:
        self.shop = shop
        live = Live("all", "shop", "new", side_effects=SideEffects.NONE, ask_twice=1)
        self.keeper = Keeper(file)
        self.judge = Judge(shop, self.keeper, system_rng())
        self.ready = Ready.of(Task(live, [("a", 1)], [("b", 1)]), [], str)

    def told(self, target: str) -> int:
        answer = self.shop.answer(target)
        shown = Shown("all", "GET", target, "shop", service="shop", status=answer.status,
                      answer_headers=answer.headers, answer_body=answer.body)  # fmt: skip
        return self.judge.judge(shown, self.ready).different


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(Shop(), tmp_path_factory.mktemp("recall") / "kept.sqlite")
    false = sum(
        made.told(f"/{place}/{number % 9}")
        for place in ("page", "value")
        for number in range(LEARNED)
    )
    assert false == 0, "noise on both sides was told of"
    yield made
    made.keeper.close()


@pytest.mark.parametrize("name", FAULTS)
def test_a_regression_is_told_of_each_time(house: House, name: str) -> None:
    place, house.shop.fault = FAULTS[name]
    try:
        assert sum(house.told(f"{place}{number}") for number in range(EACH)) == EACH
    finally:
        house.shop.fault = lambda answer: answer
    assert house.told(f"{place}1") == 0


def test_a_token_that_is_the_same_each_time_is_told_of_until_it_is_mended(house: House) -> None:
    house.shop.fault = of_one_id
    try:
        assert sum(house.told("/page/1") for _ in range(40)) > 0
    finally:
        house.shop.fault = lambda answer: answer
    for _ in range(10):
        house.told("/page/1")
    assert sum(house.told("/page/1") for _ in range(20)) == 0
