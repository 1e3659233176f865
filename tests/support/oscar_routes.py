"""Every route of the shop, with an address that it answers, and a form that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.urls.resolvers import URLPattern, URLResolver

_GROUP = re.compile(r"\(\?P<(\w+)>|<(?:\w+:)?(\w+)>")
_PRODUCT = {"product_slug": "a-field-guide-to-figs", "product_pk": "1", "slug": "some"}
_KEYS = {"category_slug": "gardening", "product_class_slug": "book", "parent_pk": "1",
         "parent": "1", "note_id": "1", "partner_pk": "1", "email_id": "1", "method_pk": "1",
         "action": "default_for_billing"}  # fmt: skip
# Where the same word stands for something else.
_ODD = {
    ("offers/", "slug"): "tenth",
    ("dashboard/comms/", "slug"): "order_placed",
    ("dashboard/pages/", "pk"): "1",
    ("dashboard/orders/", "number"): "100001",
}
_ADDRESS = {"first_name": "A", "last_name": "B", "line1": "2 Fig Lane", "line4": "Figham",
            "postcode": "N1 9RT", "country": "GB"}  # fmt: skip
FORMS: Mapping[str, Mapping[str, str]] = {
    "i18n/setlang/": {"language": "en-gb"},
    "basket/add/<int:pk>/": {"quantity": "1"},
    "basket/vouchers/add/": {"code": "FIG"},
    "checkout/": {"username": "guest2@shop.example", "options": "anonymous"},
    "checkout/shipping-address/": _ADDRESS,
    "checkout/user-address/edit/<int:pk>/": _ADDRESS,
    "checkout/payment-details/": {"action": "place_order"},
    "checkout/preview/": {"action": "place_order"},
    "accounts/profile/edit/": {"first_name": "C", "last_name": "D",
                               "email": "customer@shop.example"},
    "accounts/addresses/add/": _ADDRESS,
    "accounts/addresses/<int:pk>/": _ADDRESS,
    "accounts/wishlists/create/": {"name": "More", "visibility": "Private"},
    "accounts/wishlists/create/with-product/<int:product_pk>/": {"name": "Yet more",
                                                                "visibility": "Private"},
    "accounts/wishlists/<str:key>/update/": {"name": "Less", "visibility": "Private"},
    "accounts/notifications/update/": {"action": "archive", "selected_notification": "1"},
    "password-reset/": {"email": "guest@shop.example"},
    "dashboard/partners/create/": {"name": "Another"},
    "dashboard/ranges/create/": {"name": "Another", "is_public": "on"},
    "dashboard/pages/create/": {"title": "T", "url": "/t/", "content": "c"},
    "dashboard/catalogue/categories/create/": {"name": "New", "_position": "first-child",
                                               "_ref_node_id": "0", "is_public": "on"},
    "dashboard/orders/<str:number>/": {"order_action": "save_note", "message": "Noted"},
    }  # fmt: skip


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Every route below *resolver*, as `ResolverMatch.route` has it."""
    for one in resolver.url_patterns:
        own = str(one.pattern)
        route = before + (own.removeprefix("^") if before else own)
        if isinstance(one, URLPattern):
            yield route
        else:
            yield from routes(one, route)


def address_of(route: str, keys: Mapping[str, str]) -> str:
    """An address that *route* takes."""
    known: dict[str, str] = {**_PRODUCT, **_KEYS, **keys}
    known |= {name: value for (begin, name), value in _ODD.items() if route.startswith(begin)}
    known |= {"number": known["order_number"]}
    if "alerts/c" in route:
        known |= {"key": known["alert_key"]}
    out, rest = "", route
    while found := _GROUP.search(rest):
        out += rest[: found.start()]
        out += known[found[1] or found[2]]
        rest = rest[_closing(rest, found.start()) :] if found[1] else rest[found.end() :]
    return "/" + (out + rest).replace("^", "").replace("$", "")


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    raise AssertionError(f"{text!r} does not end")


def asked(resolver: URLResolver, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """All of them but Django's own administration, those that delete last."""
    found = [
        {"route": one, "path": address_of(one, keys), "form": dict(FORMS.get(one, {}))}
        for one in routes(resolver)
        if not one.startswith("admin/")
    ]
    return sorted(found, key=lambda one: bool(re.search("delete|remove|logout", one["route"])))
