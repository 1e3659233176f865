"""Where documents, texts, forms and heads differ."""

from __future__ import annotations

import gzip
import sys
import zlib

import brotli
import pytest

from moreton.strangler.compare import compare
from moreton.strangler.compare.bodies.unpacking import UNPACKED_BYTES_MAX
from support.answers import answer, html, places, told

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIST = "<ul>{}</ul>"


@pytest.mark.parametrize(
    ("primary", "candidate", "expected"),
    [
        ("<h1>A</h1>", "<h1>B</h1>", ["value /html/body/h1/text()"]),
        ("<p class='a b'>x  y</p>", "<p class='b a'>x\ny</p>", []),
        ("<p>x</p><!-- 1 -->", "<p>x</p>", []),
        ("<b a=1 c=2></b>", "<b c=2 a=1></b>", []),
        ("<pre>x  y</pre>", "<pre>x y</pre>", ["value /html/body/pre/text()"]),
        ("<ul><li>1<li>2<li>3</ul>", "<ul><li>1<li>3</ul>", ["missing /html/body/ul/li[2]"]),
        ("<ul><li>1<li>2<li>3</ul>", "<ul><li>3<li>1<li>2</ul>", ["order /html/body/ul"]),
        ("<ul><li>1<li>2</ul>", "<ul><li>1<li>3</ul>", ["value /html/body/ul/li[2]/text()"]),
        ("<div id=m><a href=/1>x</a></div>", "<div id=m><a href=/2>x</a></div>",
         ["value //div[@id='m']/a/@href"]),
        ("<a href=x>y</a>", "<a>y</a>", ["missing /html/body/a/@href"]),
        ("<form><input name=q value=1></form>", "<form><input name=q value=2></form>",
         ["value /html/body/form/input[@name='q']/@value"]),
        ("<p>x</p>", "<div>x</div>", ["missing /html/body/p", "extra /html/body/div"]),
    ],
)  # fmt: skip
def test_documents_differ_where_a_reader_sees_it(
    primary: str, candidate: str, expected: list[str]
) -> None:
    assert places(html(primary), html(candidate)) == expected


@pytest.mark.parametrize(
    "path",
    ["//h1", "//h1/text()", "//h1[1]/text()", "/html/body/div/h1", "//div//text()", "//*/text()"],
)
def test_a_path_says_which_elements_it_is_about(path: str) -> None:
    one, other = (html(f"<div><h1>{name}</h1><h1>x</h1></div>") for name in "AB")
    assert places(one, other) == ["value /html/body/div/h1[1]/text()"]
    assert places(one, other, (path, "ignore")) == []
    assert places(one, other, ("//h2", "ignore")) != []


def test_django_s_tokens_are_noise_and_no_token_is_not() -> None:
    form = "<form><input type=hidden name=csrfmiddlewaretoken value={}></form>"
    one, other = html(form.format("a" * 64)), html(form.format("b" * 64))
    assert not compare(one, other)
    assert places(one, html(form.format("''"))) != []


def test_xml_is_exact_about_what_it_says() -> None:
    def xml(text: str) -> str:
        return f"<?xml version='1.0'?><a>{text}</a>"

    def of(one: str, other: str) -> list[str]:
        return places(answer(xml(one), "application/xml"), answer(xml(other), "text/xml"))[1:]

    assert of("<b>1</b>\n<c/>", "<b>1</b><c></c>") == []
    assert of("<b>1 </b>", "<b>1</b>") == ["value /a/b/text()"]
    assert of("<b x='1'/>", "<b x='2'/>") == ["value /a/b/@x"]
    assert of("<b/>", "<b") == ["malformed body"]


def test_an_entity_that_grows_is_not_expanded() -> None:
    bomb = (
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">'
        + "".join(f'<!ENTITY x{n} "{f"&x{n - 1 or str()};" * 10}">' for n in range(1, 9))
        + "]><a>&x8;</a>"
    )
    compare(answer(bomb, "text/xml"), answer("<a/>", "text/xml"))


def test_texts_are_compared_by_lines() -> None:
    one, other = answer("a\nb\nc\n", "text/plain"), answer("a\r\nB\r\n", "text/plain")
    assert places(one, other) == ["value line[2]", "missing line[3]"]


def test_fields_of_forms_are_compared_by_name() -> None:
    kind = "application/x-www-form-urlencoded"
    one, other = answer("a=1&b=2&b=3&c=", kind), answer("c=&b=2&b=4&a=1", kind)
    assert places(one, other) == ["value form.b[1]"]


def test_bytes_are_told_from_where_they_part() -> None:
    one, other = answer(b"abcd", "image/png"), answer(b"abxd", "image/png")
    assert told(one, other) == [("body", "value", "63 64 from byte 2", "78 64 from byte 2")]
    assert places(one, answer(b"abc", "image/png")) == ["size body"]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstd.compress),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    ],
)
def test_packed_bodies_are_compared_unpacked(encoding: str, pack: type[bytes]) -> None:
    packed = answer(pack(b'{"a": 1}'), content_encoding=encoding)
    rule = ("header:content-encoding", "ignore")
    assert places(answer({"a": 1}), packed, rule) == []
    assert places(answer({"a": 2}), packed, rule) == ["value $.a"]
    assert places(answer({"a": 2}), packed)[0] == "extra header:content-encoding"
    torn = answer(pack(b'{"a": 1}')[:-4], content_encoding=encoding)
    assert places(packed, torn) == ["malformed body"]
    assert places(packed, answer(b"plain", content_encoding=encoding)) == ["malformed body"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)],
)
def test_a_body_that_unpacks_to_too_much_is_not_unpacked(encoding: str, pack: type[bytes]) -> None:
    bomb = answer(pack(bytes(UNPACKED_BYTES_MAX + 1)), content_encoding=encoding)
    assert "bytes once it is unpacked" in told(answer({}), bomb)[-1][-1]


def test_heads_are_compared_by_meaning() -> None:
    one = answer({}, vary="Accept, Cookie", date="Mon", x_total="5", cache_control="no-store")
    other = answer({}, vary="cookie, accept", date="Tue", x_total="6", location="/x")
    assert places(one, other) == [
        "value header:x-total",
        "missing header:cache-control",
        "extra header:location",
    ]
    assert places(answer({}, status=200), answer({}, status=201)) == ["value status"]
    same = (
        answer({}, "application/json; charset=UTF-8"),
        answer({}, 'Application/JSON;charset="utf-8"'),
    )
    assert places(*same) == []
    assert places(answer({}), answer({}, "application/json; charset=latin-1")) == [
        "value header:content-type"
    ]


def test_cookies_are_compared_by_name_and_by_what_they_may_do() -> None:
    one = answer({}, set_cookie="basket=1; Path=/; HttpOnly; Expires=Thu, 01 Jan 2026 00:00:01 GMT")
    other = answer({}, set_cookie="basket=2; path=/; Expires=Thu, 01 Jan 2026 00:00:03 GMT")
    assert places(one, other) == ["value cookie:basket", "missing cookie:basket;httponly"]
    assert places(one, answer({})) == ["missing cookie:basket"]
    assert places(one, other, ("cookie:*", "ignore")) == []


def test_another_encoding_of_the_same_letters_is_told_as_that() -> None:
    one = answer("é".encode(), "text/plain; charset=utf-8")
    latin = answer("é".encode("latin-1"), "text/plain; charset=latin-1")
    assert places(one, latin) == ["value header:content-type"]
    lying = answer("é".encode("latin-1"), "text/plain; charset=utf-8")
    assert places(one, lying) == ["malformed body"]


def test_what_is_nested_deeper_than_can_be_read_is_not_the_same_for_that() -> None:
    one, other = (html("<div>" * 300 + text) for text in "ab")
    assert places(one, other) == ["value line[1]"]
    assert places(one, html("<p>a</p>")) == ["type body"]


def test_a_long_name_makes_no_long_path() -> None:
    ((path, _, _, _),) = told(answer({"k" * 100_000: 1}), answer({"k" * 100_000: 2}))
    assert len(path) < 300
