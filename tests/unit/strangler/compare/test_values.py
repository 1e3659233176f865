"""Where two bodies of JSON differ, and how that is said."""

from __future__ import annotations

from typing import Any

import pytest

from moreton.strangler.compare import Answer, compare
from moreton.strangler.compare.core.differences import DIFFERENCES_MAX
from support.answers import answer, places, told


def test_a_wrong_price_is_told_with_its_place_and_both_values() -> None:
    one = {"items": [{"price": "1.00"}, {"price": "9.99"}]}
    other = {"items": [{"price": "1.00"}, {"price": "999"}]}
    assert told(answer(one), answer(other)) == [("$.items[1].price", "value", "9.99", "999")]


@pytest.mark.parametrize(
    ("primary", "candidate", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, ["type $.a"]),
        ({"a": 1}, {"a": True}, ["type $.a"]),
        ({"a": 1}, {"a": "1"}, ["type $.a"]),
        ({"a": None}, {}, ["missing $.a"]),
        ({}, {"odd name": 1}, ["extra $['odd name']"]),
        ({"it's": 1}, {"it's": 2}, [r"value $['it\'s']"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ([1, 2, 3], [3, 1, 2], ["order $"]),
        ([1, 2, 3, 4], [1, 3, 4], ["size $", "missing $[1]"]),
        ([1, 3], [1, 2, 3], ["size $", "extra $[1]"]),
        ([1, 2, 3], [2, 3, 4], ["missing $[0]", "extra $[2]"]),
        ([1, True], [True, 1], ["order $"]),
        ([[1, 2], [3]], [[1, 2], [4]], ["value $[1][0]"]),
        ([], [1], ["size $", "extra $[0]"]),
        ({"a": []}, {"a": {}}, ["type $.a"]),
        (12345678901234567890123, 12345678901234567890124, ["value $"]),
        (["é"], ["e\u0301"], ["value $[0]"]),
    ],
)
def test_values_differ_where_they_part(primary: Any, candidate: Any, expected: list[str]) -> None:
    assert places(answer(primary), answer(candidate)) == expected


@pytest.mark.parametrize(
    ("primary", "candidate", "rule", "expected"),
    [
        ({"at": 1}, {"at": 2}, ("$.at", "ignore"), []),
        ({"at": 1}, {}, ("$.at", "ignore value"), ["missing $.at"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("$.a", "ignore"), []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("$..b", "ignore"), []),
        ({"ab": 1}, {"ab": 2}, ("$.a", "ignore"), ["value $.ab"]),
        ([{"i": 1}], [{"i": 2}], ("$[*].i", "ignore"), []),
        ([{"i": 1}], [{"i": 2}], ("$[1].i", "ignore"), ["value $[0].i"]),
        ({"new": 1}, {"new": 1, "more": 2}, ("$.*", "ignore extra"), []),
        ([1, 2, 3], [3, 2, 1], ("$", "sort"), []),
        ([1, 2, 3], [3, 4, 1], ("$", "sort"), ["value $[1]"]),
        ({"p": 1.004}, {"p": 1.0}, ("$.p", "round 2"), []),
        ({"p": 1.006}, {"p": 1.0}, ("$.p", "round 2"), ["value $.p"]),
        ({"p": 100}, {"p": 101}, ("$.p", "within 1%"), []),
        ({"p": 100}, {"p": 102}, ("$.p", "within 1%"), ["value $.p"]),
        ({"t": "2026-01-01T12:00:00Z"}, {"t": "2026-01-01T13:00:00+01:00"}, ("$.t", "moment"), []),
        ({"t": "2026-01-01T12:00:00Z"}, {"t": "2026-01-01T13:00:00Z"}, ("$.t", "moment"),
         ["value $.t"]),
        ({"t": 1000}, {"t": 1002}, ("$.t", "moment within 2s"), []),
        ({"s": "A b"}, {"s": "a B"}, ("$.s", "case"), []),
        ({"s": "a  b"}, {"s": "a b "}, ("$.s", "space"), []),
        ({"s": "ab12"}, {"s": "cd34"}, ("$.s", "matching [a-d0-9]{4}"), []),
        ({"s": "ab12"}, {"s": ""}, ("$.s", "matching [a-d0-9]{4}"), ["value $.s"]),
        ({"s": "/x.js?v=1"}, {"s": "/x.js?v=2"}, ("$.s", r"without \?v=\d+"), []),
    ],
)  # fmt: skip
def test_a_rule_says_what_does_not_count(
    primary: Any, candidate: Any, rule: tuple[str, str], expected: list[str]
) -> None:
    assert places(answer(primary), answer(candidate), rule) == expected


def test_items_with_a_key_are_found_wherever_they_are() -> None:
    one = [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": 3, "n": "c"}]
    other = [{"id": 3, "n": "c"}, {"id": 1, "n": "x"}]
    assert places(answer(one), answer(other), ("$", "sort by id")) == [
        "value $[0].n",
        "missing $[1]",
    ]


def test_noise_in_every_item_does_not_hide_what_is_wrong_in_one() -> None:
    one = [{"at": number, "price": 5} for number in range(50)]
    other = [{"at": -number - 1, "price": 6 if number == 7 else 5} for number in range(50)]
    assert places(answer(one), answer(other), ("$[*].at", "ignore")) == ["value $[7].price"]


def test_what_is_altogether_different_is_told_in_part() -> None:
    one, other = answer(list(range(1000))), answer([str(number) for number in range(1000)])
    assert len(compare(one, other).differences) == DIFFERENCES_MAX


@pytest.mark.parametrize("depth", [300, 5000, 100_000])
def test_a_body_that_is_nested_without_reason_is_refused(depth: int) -> None:
    one, other = (b"[" * depth + item + b"]" * depth for item in (b"1", b"2"))
    outcome = compare(answer(one), answer(other))
    assert outcome.unread or outcome.differences


def test_arrays_in_arrays_cost_their_size_alone() -> None:
    def nested(last: int) -> list[Any]:
        value: list[Any] = [last, last]
        for _ in range(150):
            value = [value, "x" * 50, last]
        return value

    assert compare(answer(nested(1)), answer(nested(2)))


def test_a_body_that_is_not_what_its_type_says_is_told() -> None:
    assert places(answer({"a": 1}), answer(b"<html>oops")) == ["malformed body"]
    assert places(answer(b"oops 1"), answer(b"oops 2")) == ["value line[1]"]
    assert places(answer({"a": 1}), answer(b"\xff\xfe\x00")) == ["malformed body"]
    assert places(answer({"a": 1}), answer(b"")) == ["malformed body"]


def test_what_python_writes_and_json_has_not_is_read_all_the_same() -> None:
    assert not compare(answer(b'{"a": NaN}'), answer(b'{"a":NaN}'))
    assert places(answer(b'{"a": NaN}'), answer(b'{"a": Infinity}')) == ["value $.a"]
    assert places(answer(b'["\\ud800"]'), answer(b'["\\ud801"]')) == ["value $[0]"]
    assert not compare(answer(b"\xef\xbb\xbf{}"), answer(b"\xef\xbb\xbf{ }"))


def test_lines_of_json_are_items() -> None:
    one, other = (
        answer(b'{"a":1}\n{"a":' + last + b"}\n", "application/x-ndjson") for last in (b"2", b"3")
    )
    assert places(one, other) == ["value $[1].a"]


def test_a_candidate_that_says_too_much_is_told_without_reading_it() -> None:
    cut = Answer(200, [("content-type", "application/json")], b"[" * 1000, complete=False)
    outcome = compare(answer({"a": 1}), cut)
    assert [one.path for one in outcome.differences] == ["body"]
    assert outcome.unread == "a body of more than 1000 bytes"


@pytest.mark.parametrize("path", ["", "a.b", "$.", "$[x]", "//", "/html/", "header:", "$.a b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        told(answer(), answer(), (path, "ignore"))


@pytest.mark.parametrize(
    "treatment", ["", "ignroe", "ignore prices", "round", "round two", "within 5", "matching",
                  "matching (", "moment 2s", "sort id", "case x"],
)  # fmt: skip
def test_what_is_no_treatment_is_refused(treatment: str) -> None:
    with pytest.raises(ValueError, match="no treatment"):
        told(answer(), answer(), ("$.a", treatment))


def test_noise_in_every_row_of_a_long_table_does_not_hide_what_is_wrong_below_it() -> None:
    one = {"rows": [{"at": number} for number in range(500)], "total": 5}
    other = {"rows": [{"at": -number - 1} for number in range(500)], "total": 6}
    found = compare(answer(one), answer(other)).differences
    assert (found[-1].path, len(found)) == ("$.total", DIFFERENCES_MAX + 1)
