from __future__ import annotations

from envoy.service.runtime.v3 import rtds_pb2

from moreton.envoy.core.resources import Resource
from moreton.gateway.compile.weights import Weights


def values(resource: Resource | None) -> dict[str, float]:
    assert resource is not None
    message = rtds_pb2.Runtime.FromString(resource.body)
    return {key: value.number_value for key, value in message.layer.fields.items()}


def test_shares_are_runtime_values() -> None:
    weights = Weights()
    weights.put("r", {"old": 90, "new": 10})
    assert values(weights.take()) == {"weights.r:.new": 10, "weights.r:.old": 90}
    assert weights.take() is None


def test_share_of_a_destination_without_an_endpoint_goes_to_the_others() -> None:
    weights = Weights()
    weights.put("r", {"old": 90, "new": 10})
    weights.set_empty("new", empty=True)
    assert values(weights.take()) == {"weights.r:.new": 0, "weights.r:.old": 90}
    weights.set_empty("new", empty=False)
    assert values(weights.take()) == {"weights.r:.new": 10, "weights.r:.old": 90}


def test_shares_stay_when_no_destination_could_take_them() -> None:
    weights = Weights()
    weights.set_empty("new", empty=True)
    weights.put("r", {"old": 0, "new": 10})
    assert values(weights.take()) == {"weights.r:.new": 10, "weights.r:.old": 0}


def test_route_that_went_leaves_no_value() -> None:
    weights = Weights()
    weights.put("r", {"old": 90, "new": 10})
    weights.take()
    weights.remove("r")
    assert values(weights.take()) == {}
    weights.set_empty("new", empty=True)
    assert weights.take() is None
