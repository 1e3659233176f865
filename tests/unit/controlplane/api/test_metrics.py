from __future__ import annotations

from collections.abc import Mapping

from moreton.controlplane.api.metrics import SERVICES_MAX, Metrics

CLUSTER = ("rq_2xx", "rq_5xx", "rq_active", "cx_active", "cx_connect_fail", "rq_timeout")


def stats(services: int) -> dict[str, int]:
    found = {"http.public.downstream_rq_2xx": 7, "http.admin.downstream_rq_2xx": 99}
    for number in range(services):
        for name in CLUSTER:
            found[f"cluster.s{number}.upstream_{name}"] = number + 1
    return found


async def page(services: int) -> str:
    async def envoy(_: str) -> Mapping[str, int]:
        return stats(services)

    metrics = Metrics(own=lambda: (), envoy=envoy, own_clusters=frozenset({"admin"}))
    return (await metrics.page()).decode()


async def test_requests_are_counted_by_gateway_and_service_and_class() -> None:
    text = await page(2)
    assert 'moreton_gateway_requests_total{class="2xx",gateway="public"} 7.0' in text
    assert 'moreton_service_requests_total{class="5xx",service="s1"} 2.0' in text
    assert "admin" not in text


async def test_series_stay_bounded_and_nothing_is_lost_with_5000_services() -> None:
    text = await page(5000)
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(series) < 2000
    requests = [
        float(line.rpartition(" ")[2])
        for line in series
        if line.startswith('moreton_service_requests_total{class="2xx"')
    ]
    assert len(requests) == SERVICES_MAX + 1
    assert sum(requests) == sum(range(1, 5001))
