"""Comparing is exact: against a twin that is simple and slow."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.strangler.compare import Answer, Rulebook, compare
from moreton.strangler.compare.core.walking.finding import Findings
from moreton.strangler.compare.core.walking.values import compare_values, token

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b c", 0.5])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "odd name"]), inner, max_size=3)
    ),
    max_leaves=12,
)
KINDS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, 1.0, "", "1", [], {}, ["1"], [1], [True]]
)
EXAMPLES = settings(max_examples=60, deadline=None)


def written(value: Any) -> str:
    """The same for values that mean the same."""
    return json.dumps(value, sort_keys=True)


def reached(value: Any, path: str) -> Any:
    """What *path* names in *value*, by hand."""
    for step in steps(path):
        value = value[int(step[1:])] if step.startswith("#") else value[step]
    return value


def steps(path: str) -> list[str]:
    """The names in *path*, and places as `#3`."""
    bare = path.removeprefix("$").replace("['", ".").replace("']", "").replace("[", ".#")
    return bare.replace("]", "").split(".")[1:]


def reached_in_any_item(value: Any, path: str) -> list[Any]:
    """As `reached`, with any place in a list for each that *path* has."""
    found = [value]
    for step in steps(path):
        if step.startswith("#"):
            found = [item for one in found if isinstance(one, list) for item in one]
        else:
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
    return found


@EXAMPLES
@given(VALUES, VALUES)
def test_there_are_differences_if_and_only_if_the_values_differ(one: Any, other: Any) -> None:
    found = Findings(Rulebook())
    compare_values(one, other, found)
    assert bool(found.found) is (written(one) != written(other))
    assert (token(one) == token(other)) is (written(one) == written(other))


@EXAMPLES
@given(KINDS, KINDS, VALUES)
def test_what_is_alike_and_of_another_type_differs(one: Any, other: Any, beside: Any) -> None:
    ours, theirs = ({"beside": beside, "it": it, "in": ["a", it]} for it in (one, other))
    found = Findings(Rulebook())
    compare_values(ours, theirs, found)
    assert bool(found.found) is (written(one) != written(other))


@EXAMPLES
@given(VALUES, VALUES)
def test_each_path_leads_to_what_is_said_to_be_there(one: Any, other: Any) -> None:
    found = Findings(Rulebook())
    compare_values(one, other, found)
    for difference in found.found:
        if difference.kind == "value" and "[" not in difference.path:
            assert repr(reached(one, difference.path)) in (
                difference.primary,
                repr(difference.primary),
            )
            assert written(reached(one, difference.path)) != written(
                reached(other, difference.path)
            )
        if difference.kind == "missing":
            reached(one, difference.path)
        if difference.kind == "extra" and "[" not in difference.path:
            reached(other, difference.path)
        # What is below an item that moved has the place that the item has in the primary.
        if difference.kind == "extra":
            assert reached_in_any_item(other, difference.path)


@EXAMPLES
@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([
    "application/json", "text/html", "text/xml", "text/plain; charset=utf-16", "image/png", "",
    "application/x-www-form-urlencoded", "application/x-ndjson", "text/html; charset=nonsense",
]))  # fmt: skip
def test_no_body_is_too_strange_to_be_compared(one: bytes, other: bytes, kind: str) -> None:
    headers = [("content-type", kind)]
    compare(Answer(200, headers, one), Answer(200, headers, other))
    assert not compare(Answer(200, headers, one), Answer(200, headers, bytes(one)))
