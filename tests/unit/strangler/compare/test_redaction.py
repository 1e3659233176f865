"""What is kept of two answers holds no secret and no personal data."""

from __future__ import annotations

import pytest

from moreton.strangler.compare.bodies.reading import read_body
from moreton.strangler.compare.core.answers import MediaType
from moreton.strangler.compare.core.content import Form, Json, Text
from moreton.strangler.compare.core.differences import Difference, Kind
from moreton.strangler.compare.core.redaction import Redactor


def hide(text: str) -> str:
    return f"<{len(text)}>"


REDACTOR = Redactor(hide, ["$.items[*].owner"])


def test_members_are_hidden_by_their_names_and_paths() -> None:
    value = {
        "password": "hunter2",
        "user": {"email": "x", "id": 5, "access_token": ["ab", None, True]},
        "number": 4111111111111111,
        "items": [{"owner": "Ann", "name": "fig"}],
    }
    assert REDACTOR.content(Json(value)) == Json(
        {
            "password": "<7>",
            "user": {"email": "<1>", "id": 5, "access_token": ["<2>", None, True]},
            "number": "<16>",
            "items": [{"owner": "<3>", "name": "fig"}],
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann@shop.example now", "write to <16> now"),
        ("card 4111 1111 1111 1111.", "card <19>."),
        ("order 4111 1111 1111 1112", "order 4111 1111 1111 1112"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: <19>"),
        ("eyJhbGciOi.eyJzdWIi.c2ln x", "<24> x"),
        ("a fig for 9.99", "a fig for 9.99"),
    ],
)
def test_texts_are_looked_through_for_what_looks_like_a_secret(text: str, expected: str) -> None:
    shown = REDACTOR.content(Text(text))
    assert isinstance(shown, Text)
    assert shown.text == expected


def test_forms_documents_and_heads_are_redacted() -> None:
    assert REDACTOR.content(Form([("phone", "123"), ("q", "fig")])) == Form(
        [("phone", "<3>"), ("q", "fig")]
    )
    page = read_body(b"<input name=csrf value=abc><p>ann@shop.example</p>", MediaType("text/html"))
    shown = str(REDACTOR.content(page.content))
    assert "abc" not in shown
    assert "ann@" not in shown
    assert REDACTOR.headers(
        [("set-cookie", "a=1234; Path=/"), ("x-api-key", "k"), ("vary", "b")]
    ) == [
        ("set-cookie", "a=<4>; Path=/"),
        ("x-api-key", "<1>"),
        ("vary", "b"),
    ]


def test_a_difference_shows_no_more_than_its_body() -> None:
    def shown(path: str, value: str) -> str:
        return REDACTOR.difference(Difference(path, Kind.VALUE, value, "—")).primary

    assert shown("$.user.password", "abc") == "<3>"
    assert shown("$.items[3].owner", "Ann") == "<3>"
    assert shown("//form/input[@name='email']/@value", "abc") == "<3>"
    assert shown("cookie:sessionid", "abc") == "<3>"
    assert shown("$.note", "call ann@shop.example") == "call <16>"
    assert shown("$.price", "9.99") == "9.99"
