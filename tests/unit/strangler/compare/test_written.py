"""Answers that were kept can be compared again, and become tests."""

from __future__ import annotations

import hashlib
import json
import runpy
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from moreton.strangler.compare import DEFAULT_RULES, Answer, Redactor, Rulebook, compare
from moreton.strangler.compare.exporting import as_pytest
from moreton.strangler.compare.sqlite import Differences
from moreton.strangler.compare.written import (
    BODY_CHARS_MAX,
    compare_again,
    read_answer,
    write_answer,
)
from support.answers import answer, html
from support.waits import join_all


def mark(text: str) -> str:
    return hashlib.blake2s(text.encode(), key=b"a key of a test").hexdigest()[:12]


REDACTOR = Redactor(mark)
RULES = Rulebook(DEFAULT_RULES)


@pytest.mark.parametrize(
    "kept",
    [
        answer({"items": [{"price": "9.99", "n": 1.0, "ok": True, "odd name": None}]}),
        answer(b'{"a":1}\n{"a":2}\n', "application/x-ndjson"),
        answer("<p>é".encode("latin-1"), "text/html; charset=latin-1"),
        answer("é".encode("utf-16"), "text/plain; charset=utf-16"),
        html("<p class=a>x &lt; y &amp; z<br>t</p><script>a < b && c</script><pre> x  y\n</pre>"),
        answer("<a x='1'><b>1 &lt; 2</b> t <c/></a>", "application/xml"),
        answer("<a xmlns='urn:x'><b>1</b></a>", "text/xml"),
        answer("a=1&b=%C3%A9&b=3&c=", "application/x-www-form-urlencoded"),
        answer("one\ntwo é", "text/plain; charset=utf-8", status=404, location="/x"),
        answer(b'["\\ud800", NaN]'),
        answer(b""),
    ],
)
def test_what_is_read_again_is_what_was_written(kept: Answer) -> None:
    again = read_answer(write_answer(kept, REDACTOR))
    assert compare(kept, again) == compare(kept, kept)
    assert write_answer(again, REDACTOR) == write_answer(kept, REDACTOR)


def test_secrets_are_not_kept_and_still_told_apart() -> None:
    one, other = (answer({"token": token, "a": 1}, set_cookie=f"s={token}") for token in "AB")
    kept = write_answer(one, REDACTOR)
    assert '"A"' not in kept
    assert "=A" not in kept
    assert not compare_again(kept, one, REDACTOR, RULES)
    found = compare_again(kept, other, REDACTOR, RULES).differences
    assert [one.path for one in found] == ["cookie:s", "$.token"]


def test_a_pair_is_compared_again_after_a_fix() -> None:
    kept = write_answer(answer({"price": "9.99"}), REDACTOR)
    assert compare_again(kept, answer({"price": "999"}), REDACTOR, RULES)
    assert not compare_again(kept, answer({"price": "9.99"}), REDACTOR, RULES)


@pytest.mark.parametrize(
    "kept", [answer("x" * (BODY_CHARS_MAX + 1), "text/plain"), answer(b"\x00", "image/png")]
)
def test_of_a_body_that_is_not_kept_that_is_said(kept: Answer) -> None:
    again = read_answer(write_answer(kept, REDACTOR))
    assert (again.body, again.complete) == (b"", False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"status": 1, "headers": 5}'])
def test_what_was_never_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no answer that was kept"):
        read_answer(text)


class Priced(BaseHTTPRequestHandler):
    price = "9.99"

    def do_GET(self) -> None:
        body = json.dumps({"price": self.price, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def candidate() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Priced) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        join_all([thread])


@pytest.mark.parametrize("price", ["9.99", "999"])
def test_a_kept_pair_becomes_a_test_that_passes_once_it_is_mended(
    candidate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, price: str
) -> None:
    primary = answer({"price": "9.99", "path": "/items/3"})
    wrong = answer({"price": "999", "path": "/items/3"})
    with Differences(tmp_path / "differences.db") as file:
        file.add(
            "GET /items/{id}",
            compare(primary, wrong).differences,
            datetime(2026, 11, 27, tzinfo=UTC),
            request="GET /items/3",
            primary=write_answer(primary, REDACTOR),
            candidate=write_answer(wrong, REDACTOR),
        )
        module = tmp_path / "test_kept.py"
        module.write_text(as_pytest(file.pair(file.groups()[0].pairs[0])))
    monkeypatch.setenv("CANDIDATE", candidate)
    monkeypatch.setattr(Priced, "price", price)
    tests = runpy.run_path(str(module))
    if price == "9.99":
        tests["test_get_items_id_answers_as_the_application_did"]()
    else:
        with pytest.raises(AssertionError, match=r"\$\.price"):
            tests["test_get_items_id_answers_as_the_application_did"]()
