"""A rule that proxies share, as filters: its buckets charge by the share, and what is asked counts.

Envoy counts what a filter saw, not what was of its rule. Where a rule has conditions its filter has
one bucket more, which counts those requests: it holds less than any of them takes, and never acts.
"""

from __future__ import annotations

from datetime import timedelta

from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.type.v3 import token_bucket_pb2

from moreton.gateway.compile.limits.buckets import bucket
from moreton.gateway.compile.limits.requests import Descriptor
from moreton.gateway.compile.limits.shares.charges import charge_format, in_units, units_of
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule

_SUFFIX = ".http_local_rate_limit."
# The statistics that say how much was asked: of a rule with conditions, and of one without.
ASKED_PATTERN = r"^(asked/.*\.rate_limited|limit/.*@.*\.enabled)$"
_DAY = timedelta(days=1)
# LocalRateLimitDescriptor.shadow_mode, field 3, of Envoy 1.40: younger than the protobuf classes.
_NEVER_ACTS = bytes((3 << 3, 1))
_ASKED = "asked"  # what no descriptor of a rule itself has


def rule_units(rule: LimitRule) -> int:
    """Into how many units a token of every bucket of *rule* is divided."""
    told = [bucket(one) for one in rule.bounds if isinstance(one, RateBound)]
    return min(units_of(max(each.max_tokens, each.tokens_per_fill.value)) for each in told)


def charge_by_share(
    out: local_rate_limit_pb2.LocalRateLimit, rule: LimitRule, gateway: str
) -> None:
    """Make *out*, a filter of *rule*, charge what the state of a request says."""
    units = rule_units(rule)
    out.stat_prefix = f"{out.stat_prefix}@{gateway}"
    for asked in out.rate_limits:
        asked.hits_addend.Clear()
        asked.hits_addend.format = charge_format(rule.name)
    for kept in out.descriptors:
        kept.token_bucket.CopyFrom(in_units(kept.token_bucket, units))


def count_asked(
    out: local_rate_limit_pb2.LocalRateLimit, rule: LimitRule, gateway: str, found: list[Descriptor]
) -> None:
    """Have *out*, a filter of *rule*, count the requests of it, which make the descriptors *found*.

    Each takes two from a bucket that holds one and never refuses. Envoy counts it among those above
    a limit, whatever the buckets of the rule say.
    """
    out.stat_prefix = f"asked/{rule.name}@{gateway}"
    less = token_bucket_pb2.TokenBucket(max_tokens=1)
    less.tokens_per_fill.value = 1
    less.fill_interval.FromTimedelta(_DAY)
    for one in found:
        asked = out.rate_limits.add()
        asked.actions.extend(one.actions)
        asked.actions.add().generic_key.descriptor_value = _ASKED
        asked.hits_addend.number.value = 2
        counted = out.descriptors.add(token_bucket=less)
        counted.MergeFromString(_NEVER_ACTS)
        for key, value in (*one.entries, ("generic_key", _ASKED)):
            counted.entries.add(key=key, value=value)


def read_asked(statistics: dict[str, int]) -> dict[tuple[str, str], int]:
    """How much was asked, by gateway and rule, of statistics of `ASKED_PATTERN`."""
    found: dict[tuple[str, str], int] = {}
    # Those that count the requests of a rule alone win.
    for name in sorted(statistics, reverse=True):
        kind, _, rest = name.partition("/")
        rule, _, gateway = rest.removesuffix(_SUFFIX + _WORDS.get(kind, "")).rpartition("@")
        if rule and kind in _WORDS and "/" not in rule:
            found[gateway, rule] = statistics[name]
    return found


_WORDS = {"asked": "rate_limited", "limit": "enabled"}
