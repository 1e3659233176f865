"""What bodies and fields say besides: byte order marks, document types, cookies set twice."""

from __future__ import annotations

from moreton.strangler.compare import Answer, Redactor, compare
from moreton.strangler.compare.written import read_answer, write_answer

PAGE = b"<!DOCTYPE html><html><body><p>a</p></body></html>"


def told(one: Answer, other: Answer) -> list[str]:
    return [f"{found.kind} {found.path}" for found in compare(one, other).differences]


def page(body: bytes) -> Answer:
    return Answer(200, [("content-type", "text/html")], body)


def test_a_page_without_its_document_type_is_another() -> None:
    assert told(page(PAGE), page(PAGE.removeprefix(b"<!DOCTYPE html>"))) == ["value body"]
    assert told(page(PAGE), page(PAGE.replace(b"DOCTYPE", b"doctype"))) == []
    assert told(page(PAGE), page(b"<!-- made -->\n" + PAGE)) == []


def test_a_page_that_is_kept_has_its_document_type() -> None:
    kept = read_answer(write_answer(page(PAGE), Redactor(str)))
    assert told(page(PAGE), kept) == []


def test_json_after_a_byte_order_mark_is_malformed_unless_both_are() -> None:
    json = [("content-type", "application/json")]
    plain, marked = Answer(200, json, b'{"a": 1}'), Answer(200, json, b'\xef\xbb\xbf{"a": 1}')
    other = Answer(200, json, b'\xef\xbb\xbf{"a": 2}')
    assert told(plain, marked) == ["malformed body"]
    assert told(marked, other) == ["value $.a"]


def test_a_cookie_that_is_set_twice_is_another() -> None:
    once = [("set-cookie", "basket=1; path=/")]
    twice = [("set-cookie", "basket=0; path=/"), *once]
    assert told(Answer(200, once), Answer(200, twice)) == ["value cookie:basket"]
