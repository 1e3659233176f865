from __future__ import annotations

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.listener.local_ratelimit.v3 import local_ratelimit_pb2

from moreton.gateway.compile.limits.connections import connection_resources
from moreton.gateway.compile.limits.local import enabled_key
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule, Mode


@pytest.mark.parametrize(
    ("tight", "acting"), [(Mode.ENFORCE, "tight"), (Mode.SHADOW, "wide"), (Mode.OFF, "wide")]
)
def test_tightest_rule_that_is_enforced_acts_on_connections(tight: Mode, acting: str) -> None:
    rules = [
        LimitRule("tight", (RateBound(parse_rate("10/s"), 10),), mode=tight),
        LimitRule("wide", (RateBound(parse_rate("50/s"), 50),), mode=Mode.ENFORCE),
    ]
    arrivals, _ = connection_resources("public", rules)
    told = extension_pb2.TypedExtensionConfig.FromString(arrivals.body)
    limit = local_ratelimit_pb2.LocalRateLimit()
    assert told.typed_config.Unpack(limit)
    assert limit.runtime_enabled.runtime_key == enabled_key(acting)
