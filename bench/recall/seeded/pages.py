"""Regressions of pages."""

from __future__ import annotations

import re
from dataclasses import replace

from bench.recall.seeded.seed import Asked, Regression, below, both, is_html, one_in, text
from moreton.strangler.compare import Answer

BOOK, SHELF, LIST = "/catalogue/x_{}/", "/catalogue/category/gardening_1/", "/catalogue/"
PAGE_2, SORTED = "/catalogue/?page=2", "/catalogue/?sort_by=price-asc"
BASKET, LOGIN, SEARCH = "/basket/", "/accounts/login/", "/search/?q=figs"
_BOOK = below("/catalogue/")


def _page(number: int) -> re.Pattern[str]:
    return re.compile(rf"page={number}\b")


def _is_page_2(asked: Asked) -> bool:
    return bool(_page(2).search(asked.query))


def _german(asked: Asked) -> bool:
    return asked.language == "de"


def _french(asked: Asked) -> bool:
    return asked.language == "fr"


def _guest(asked: Asked) -> bool:
    return not asked.user


def _half(asked: Asked, answer: Answer) -> Answer:
    if not (is_html(answer) and _BOOK(asked)):
        return answer
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _more(found: re.Match[str]) -> str:
    return f"{found[1]}{float(found[2]) + 0.1:.2f}"


def _swapped(found: re.Match[str]) -> str:
    return found[2] + found[1]


def _next(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2]) + 1}{found[3]}"


PAGES = (
    Regression(
        "every eighth book's page says ten pence more",
        "price",
        BOOK,
        text(r'(price_color">£)(\d+\.\d\d)', _more, only=both(_BOOK, one_in(8))),
        language="en",
        step=8,
    ),
    Regression(
        "the table says another price than the page",
        "price",
        BOOK,
        text(r"(incl\. tax\)</th><td>£)(\d+\.\d\d)", _more, only=_BOOK),
        language="en",
    ),
    Regression(
        "a penny more in the list",
        "price",
        LIST,
        text(
            r'(price_color">£)(\d+\.\d\d)',
            lambda found: f"{found[1]}{float(found[2]) + 0.01:.2f}",
            count=1,
            only=lambda asked: asked.path == LIST,
        ),
    ),
    Regression(
        "dollars, in German alone",
        "locale",
        BOOK,
        text("£", "$", only=both(_BOOK, _german)),
        language="de",
    ),
    Regression(
        "a decimal point, in French alone",
        "locale",
        BOOK,
        text(r"(\d+),(\d\d\xa0£)", r"\1.\2", only=both(_BOOK, _french)),
        language="fr",
    ),
    Regression(
        "a button in English, in German alone",
        "locale",
        BOOK,
        text("In Warenkorb legen", "Add to cart", only=both(_BOOK, _german)),
        language="de",
    ),
    Regression(
        "the document says another language",
        "locale",
        LOGIN,
        text(r'<html lang="[\w-]+"', '<html lang="xx"'),
    ),
    Regression(
        "a row of the table is missing",
        "missing field",
        BOOK,
        text(r"<tr>\s*<th>UPC</th>.*?</tr>", "", count=1),
    ),
    Regression(
        "a crumb is missing",
        "missing field",
        BOOK,
        text(
            r'<li class="breadcrumb-item"><a href="/catalogue/category.*?</li>',
            "",
            count=1,
            only=_BOOK,
        ),
    ),
    Regression(
        "no token in the form",
        "security",
        BOOK,
        text(r'<input type="hidden" name="csrfmiddlewaretoken"[^>]*>', "", only=_BOOK),
    ),
    Regression(
        "the description of the page is missing",
        "missing field",
        BOOK,
        text(r'<meta name="description".*?/>', "", count=1, only=_BOOK),
    ),
    Regression(
        "guests get a link to the dashboard",
        "extra field",
        BOOK,
        text("</header>", '<a href="/dashboard/">Dashboard</a></header>', only=both(_BOOK, _guest)),
    ),
    Regression(
        "two shelves change places",
        "order",
        SHELF,
        text(
            r'(<a class="dropdown-item" href="/catalogue/category/gardening_1/">\w+</a>\s*)'
            r'(<a class="dropdown-item" href="/catalogue/category/cooking_2/">\w+</a>\s*)',
            _swapped,
        ),
    ),
    Regression(
        "the order of the prices is not kept",
        "order",
        SORTED,
        text(
            r'(<li class="col-sm-6[^"]*">.*?</li>)\s*(<li class="col-sm-6[^"]*">.*?</li>)',
            _swapped,
            count=1,
            only=lambda asked: "sort_by" in asked.query,
        ),
    ),
    Regression(
        "pounds in the wrong charset",
        "encoding",
        BOOK,
        text("£", "Â£", only=both(_BOOK, one_in(4))),
        step=4,
    ),
    Regression(
        "umlauts escaped twice",
        "encoding",
        LOGIN,
        text("ö", "&amp;ouml;", only=_german),
        language="de",
    ),
    Regression(
        "the second page counts from nought",
        "pagination",
        PAGE_2,
        text(r"<strong>9</strong>", "<strong>8</strong>", only=_is_page_2),
    ),
    Regression(
        "the second page leads to itself",
        "pagination",
        PAGE_2,
        text(r"\?page=3", "?page=2", only=_is_page_2),
    ),
    Regression(
        "the last of the page is missing",
        "pagination",
        LIST,
        text(
            r'<li class="col-sm-6[^"]*">(?!.*<li class="col-sm-6).*?</article>\s*</li>',
            "",
            only=lambda asked: asked.path == LIST,
        ),
    ),
    Regression(
        "one result less than there is",
        "off by one",
        LIST,
        text(r"<strong>64</strong>", "<strong>63</strong>"),
    ),
    Regression(
        "one more in stock on the page",
        "off by one",
        BOOK,
        text(r"(In stock \()(\d+)( available)", _next),
    ),
    Regression(
        "the form buys the next book",
        "link",
        BOOK,
        text(r'(action="/basket/add/)(\d+)(/")', _next, only=_BOOK),
    ),
    Regression(
        "the form sends by GET",
        "link",
        BOOK,
        text(r'(add_to_basket_form"[^>]*)method="post"', r'\1method="get"'),
    ),
    Regression(
        "two are bought at once",
        "wrong default",
        BOOK,
        text(r'name="quantity" value="1"', 'name="quantity" value="2"', only=_BOOK),
    ),
    Regression(
        "pictures from inside",
        "link",
        BOOK,
        text(r'src="/media/', 'src="http://shop.internal/media/', only=_BOOK),
    ),
    Regression("an older style sheet", "link", LOGIN, text(r"styles\.css", "styles.css?v=1")),
    Regression("the page ends in its middle", "truncation", BOOK, _half),
    Regression(
        "long titles are cut",
        "truncation",
        BOOK,
        text(r"<h1>([^<]{12})[^<]+</h1>", r"<h1>\1…</h1>", only=_BOOK),
    ),
    Regression("the title twice", "duplicate", BOOK, text(r"(<h1>.*?</h1>)", r"\1\1", only=_BOOK)),
    Regression("a shelf by its old name", "stale data", SHELF, text("Gardening", "Garden")),
    Regression(
        "a user's basket is empty",
        "identity",
        BASKET,
        text(
            r"<form[^>]*basket.*?</form>",
            "<p>Your cart is empty</p>",
            only=lambda asked: asked.user and asked.path == BASKET,
        ),
        user=True,
    ),
    Regression(
        "what was looked for is forgotten",
        "missing field",
        SEARCH,
        text(r'(name="q"[^>]*value=")[^"]+"', r'\1"'),
    ),
)
