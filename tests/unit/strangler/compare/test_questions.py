"""What a copy looks like, and which endpoint it is of."""

from __future__ import annotations

import pytest

from moreton.strangler.compare.core.questions import Rewriting, endpoint_of, rewritten

MARK = ("x-moreton-copy", "candidate")


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        ("/orders/17/items?page=2", "GET /orders/*/items"),
        ("/catalogue/coders-at-work_207/", "GET /catalogue/*/"),
        ("/", "GET /"),
        (f"/files/{'a' * 40}", "GET /files/*"),
    ],
)
def test_an_endpoint_has_no_name_of_one_of_many(target: str, endpoint: str) -> None:
    assert endpoint_of("GET", target) == endpoint


def test_a_copy_is_marked_and_leaves_the_connection_s_fields_behind() -> None:
    headers = [
        ("connection", "close"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("accept", "*/*"),
        MARK,
    ]
    sent = rewritten(headers, "shop.example", Rewriting(), MARK)
    assert sent == [("host", "shop.example"), ("accept", "*/*"), ("cookie", "a=1; b=2"), MARK]


@pytest.mark.parametrize(
    ("how", "target"),
    [
        (Rewriting(), "/shop/x?q=1"),
        (Rewriting(prefix="/shop", path="/"), "/x?q=1"),
        (Rewriting(prefix="/shop", path="/new"), "/new/x?q=1"),
        (Rewriting(path="/one"), "/one?q=1"),
    ],
)
def test_a_copy_s_path_is_what_the_service_would_see(how: Rewriting, target: str) -> None:
    assert how.target("/shop/x?q=1") == target
