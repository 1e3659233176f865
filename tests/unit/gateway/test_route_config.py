"""A route of `moreton.yaml` that says a thing twice is refused, not read by halves."""

from __future__ import annotations

import pytest

from moreton.gateway.config.routes import RouteModel

TWICE = {"X-A": "1", "x-a": "2"}


@pytest.mark.parametrize(
    "more",
    [{"headers": TWICE}, {"request_headers": {"set": TWICE}}, {"response_headers": {"add": TWICE}}],
)
def test_a_header_named_twice_in_different_case_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="'x-a' is there twice"):
        RouteModel.model_validate({"path": "/a", "to": "shop", **more})


def test_a_header_may_be_set_and_added() -> None:
    changes = {"set": {"x-a": "1"}, "add": {"X-A": "2"}}
    route = RouteModel.model_validate({"path": "/a", "to": "shop", "request_headers": changes})
    assert route.as_value("all").request_headers is not None
