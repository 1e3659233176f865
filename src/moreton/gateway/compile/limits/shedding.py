"""Rules on work under way and on failing answers, as Envoy's filters that shed load.

Neither knows conditions of its own: what is for some routes is skipped but where a route says not
to skip it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.adaptive_concurrency.v3 import adaptive_concurrency_pb2
from envoy.extensions.filters.http.admission_control.v3 import admission_control_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf import any_pb2, wrappers_pb2

from moreton.envoy.messages import any_of, extension
from moreton.envoy.wire import delimited, serialize
from moreton.gateway.compile.limits.local import enabled_key, filter_name
from moreton.gateway.core.limits import is_of_routes
from moreton.ratelimit.core.rules.bounds import AdmissionBound, WorkBound
from moreton.ratelimit.core.rules.values import LimitRule

_UPDATE = timedelta(milliseconds=100)
_MEASURE = timedelta(minutes=1)
# The least that may be under way: while Envoy measures how fast the work can be, it admits no more
# than a few, and by itself would refuse the rest (envoyproxy/envoy#8337, #38338).
_ADAPTIVE_MIN = 20
_ADAPTIVE_MAX = 10_000
# So long does nobody take: measured against it, Envoy always admits the most that it may.
_NEVER_SLOW = timedelta(hours=1)
# ConcurrencyLimitCalculationParams.min_concurrency_limit: younger than the protobuf classes.
_MIN_LIMIT_FIELD = 4
_PERCENT = 100


def shedding_filters(rule: LimitRule) -> Iterator[TypedExtensionConfig]:
    """The filter that keeps the bound on work of *rule*; it has none other."""
    for bound in rule.bounds:
        if isinstance(bound, WorkBound):
            yield _skipped_elsewhere(rule, _work(rule, bound))
        elif isinstance(bound, AdmissionBound):
            yield _skipped_elsewhere(rule, _admission(rule, bound))


def not_skipped() -> any_pb2.Any:
    """What a route says to be under a rule on work: skip a request with a method that none has."""
    out = extension_matcher_pb2.ExtensionWithMatcherPerRoute()
    one = out.xds_matcher.matcher_list.matchers.add()
    there = one.predicate.single_predicate
    there.input.name = "method"
    method = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":method")
    there.input.typed_config.CopyFrom(any_of(method))
    there.value_match.exact = " "
    one.on_match.action.name = "skip"
    one.on_match.action.typed_config.CopyFrom(any_of(skip_action_pb2.SkipFilter()))
    return any_of(out)


def _skipped_elsewhere(rule: LimitRule, config: TypedExtensionConfig) -> TypedExtensionConfig:
    if not is_of_routes(rule):
        return config
    out = extension_matcher_pb2.ExtensionWithMatcher(extension_config=config)
    return extension(config.name, out)  # without a matcher it skips everything


def _work(rule: LimitRule, bound: WorkBound) -> TypedExtensionConfig:
    out = adaptive_concurrency_pb2.AdaptiveConcurrency()
    controller = out.gradient_controller_config
    params, rtt = controller.concurrency_limit_params, controller.min_rtt_calc_params
    params.concurrency_update_interval.FromTimedelta(_UPDATE)
    if bound.count is None:
        params.max_concurrency_limit.value = _ADAPTIVE_MAX
        least = _ADAPTIVE_MIN
        rtt.interval.FromTimedelta(_MEASURE)
        rtt.jitter.value = 20
        rtt.buffer.value = 50
    else:
        params.max_concurrency_limit.value = least = bound.count
        rtt.fixed_value.FromTimedelta(_NEVER_SLOW)
    rtt.min_concurrency.value = least
    told = serialize(wrappers_pb2.UInt32Value(value=least))
    params.MergeFromString(delimited(_MIN_LIMIT_FIELD, told))
    out.enabled.default_value.value = False
    out.enabled.runtime_key = enabled_key(rule.name)
    out.concurrency_limit_exceeded_status.code = rule.status
    return extension(filter_name(rule.name), out)


def _admission(rule: LimitRule, bound: AdmissionBound) -> TypedExtensionConfig:
    out = admission_control_pb2.AdmissionControl()
    out.enabled.default_value.value = False
    out.enabled.runtime_key = enabled_key(rule.name)
    out.sampling_window.FromTimedelta(bound.window)
    out.sr_threshold.default_value.value = bound.success * _PERCENT
    out.sr_threshold.runtime_key = f"limits.{rule.name}:success"
    out.aggression.default_value = 1.0
    out.aggression.runtime_key = f"limits.{rule.name}:aggression"
    out.rps_threshold.default_value = bound.rate_min
    out.rps_threshold.runtime_key = f"limits.{rule.name}:rate_min"
    out.max_rejection_probability.default_value.value = bound.refuse_max * _PERCENT
    out.max_rejection_probability.runtime_key = f"limits.{rule.name}:refuse_max"
    # What a client did wrong says nothing of the service; of gRPC Envoy knows which those are.
    out.success_criteria.http_criteria.http_success_status.add(start=100, end=500)
    return extension(filter_name(rule.name), out)
