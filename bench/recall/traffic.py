"""What users ask of the shop: guests and users, in three languages, pages and values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.recall.seeded.seed import Regression

BOOKS = 64
_LANGUAGES = ("en", "en", "en", "en", "de", "fr")
_TOKEN = "0123456789abcdefghijklmnopqrstuv"  # noqa: S105 - of nobody
# How often each is asked, of all. Lists are seldom: each takes 100 ms of both shops.
PLACES: Sequence[tuple[int, str]] = (
    (18, "/catalogue/x_{}/"),
    (20, "/api/products/{}/"),
    (20, "/api/products/{}/price/"),
    (20, "/api/products/{}/availability/"),
    (14, "/api/products/{}/stockrecords/"),
    (12, "/catalogue/moved_{}/"),
    (6, "/api/products/"),
    (6, "/api/categories/"),
    (6, "/api/countries/"),
    (6, "/api/products/999/"),
    (6, "/api/basket/"),
    (6, "/accounts/"),
    (6, "/accounts/login/"),
    (6, "/accounts/orders/"),
    (6, "/basket/"),
    (4, "/offers/"),
    (4, "/nowhere/"),
    (4, "/"),
    (4, "/static/oscar/js/oscar/ui.js"),
    (3, "/catalogue/category/gardening_1/"),
    (1, "/catalogue/"),
    (1, "/catalogue/?page=2"),
    (1, "/catalogue/?sort_by=price-asc"),
    (1, "/search/?q=figs"),
)
_HEAD_SHARE = 0.03
# Of those to an address where something is wrong, the share that is asked by anybody, of anything.
_BESIDE = 0.3


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request of a user."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Makes requests to *places*; *slugs* are those of the books, *sessions* those of the users."""

    slugs: Sequence[str]
    sessions: Sequence[str]
    places: Sequence[tuple[int, str]] = PLACES
    rng: random.Random = field(default_factory=lambda: random.Random(8))

    def any(self) -> Wanted:
        """A request as they come."""
        weights = [weight for weight, _ in self.places]
        (_, place) = self.rng.choices(self.places, weights)[0]
        return self.at(place)

    def of(self, regression: Regression) -> Wanted:
        """A request of those among which are the ones that *regression* concerns."""
        if self.rng.random() < _BESIDE:
            return self.at(regression.where)
        one = regression
        return self.at(one.where, one.language, user=one.user, step=one.step)

    def at(
        self, place: str, language: str = "", *, user: bool | None = None, step: int = 1
    ) -> Wanted:
        """A request to *place*, by anybody or as it is said."""
        number = self.rng.randint(1, BOOKS // step) * step
        target = place.format(number)
        if place == "/catalogue/x_{}/":
            target = f"/catalogue/{self.slugs[number - 1]}_{number}/"
        language = language or self.rng.choice(_LANGUAGES)
        if user is None:
            user = self.rng.random() < 0.2
        headers = [("accept-language", language), ("user-agent", "bench")]
        cookies = [] if not user else [f"sessionid={self.rng.choice(self.sessions)}"]
        if user or self.rng.random() < 0.3:
            cookies.append(f"csrftoken={_TOKEN}")
        if cookies:
            headers.append(("cookie", "; ".join(cookies)))
        if self.rng.random() < 0.3:
            headers.append(("accept-encoding", "gzip"))
        method = "HEAD" if self.rng.random() < _HEAD_SHARE else "GET"
        return Wanted(method, target, headers)


def each_place(traffic: Traffic, times: int) -> Sequence[Callable[[], Wanted]]:
    """*times* requests to each place, in any order."""
    makers: list[Callable[[], Wanted]] = []
    for _, place in traffic.places:
        makers += [lambda place=place: traffic.at(place)] * times  # type: ignore[misc]
    traffic.rng.shuffle(makers)
    return makers
