"""Counts in Prometheus' text format, under the names that envoyproxy/ratelimit has there.

So that dashboards and alarms stay: `ratelimit_service_rate_limit_over_limit{domain, key1, key2}`.
Source: envoyproxy/ratelimit, src/stats/prom/default_mapper.yaml.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from moreton.ratelimit.rls.counts import NAMES, Counts

_PREFIX = "ratelimit_service"
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_LEVELS = 2  # of descriptors in labels; what is below is summed up


def exposition(counts: Counts, *, reloads: int, refused_reloads: int) -> str:
    """All of *counts* as one page."""
    lines: list[str] = []
    for name in NAMES:
        totals: Counter[str] = Counter()
        for metric, row in counts.lines():
            totals[_labels(metric)] += getattr(row, name)
        lines += _family(f"{_PREFIX}_rate_limit_{name}", totals)
    unknown = {f'{{domain="{_escaped(key)}"}}': count for key, count in counts.not_found.items()}
    lines += _family(f"{_PREFIX}_rate_limit_domain_not_found", Counter(unknown))
    away = Counter({'{err_type="redis_error"}': counts.failed})
    lines += _family(f"{_PREFIX}_should_rate_limit_error", away)
    for name, value in (
        ("config_load_success", reloads),
        ("config_load_error", refused_reloads),
        ("global_shadow_mode", counts.shadowed),
    ):
        lines += _family(f"{_PREFIX}_{name}", Counter({"": value}))
    return "\n".join(lines) + "\n"


def _family(name: str, totals: Counter[str]) -> Iterator[str]:
    yield f"# TYPE {name} counter"
    for labels, value in sorted(totals.items()):
        yield f"{name}{labels} {value}"


def _labels(metric: str) -> str:
    """The labels of a metric: dots part its levels, so those of addresses are no dots."""
    plain = _ADDRESS.sub(lambda found: found[0].replace(".", "_"), metric)
    domain, *levels = re.sub(r"[:|]", "_", plain).split(".")
    pairs = [("domain", domain)]
    pairs += [(f"key{number}", level) for number, level in enumerate(levels[:_LEVELS], 1)]
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
