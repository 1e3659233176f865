"""Exact limits: what the rate limit service decides a second, and how exactly requests wait.

The service is asked over HTTP/2 by h2load, as an Envoy asks it: the same question again and again,
over several connections with several questions at a time. What it counted meanwhile is held against
what was answered. Waiting is measured at the gateway: requests come in small groups, soon after
each other; the first passes and each other waits for its turn. Its backend tells for how long the
service had it wait, and what they take beyond that is held against what others take that wait for
nothing, each of which comes when one that waits is due: a machine that halts then halts both.
"""

from __future__ import annotations

import asyncio
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from envoy.service.ratelimit.v3 import rls_pb2
from rich.console import Console

from bench.fleet import fleet
from bench.processes import need, running
from bench.report import Result, median, percentile
from moreton.kernel.ports import free_port

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_COUNT = 4_000_000_000
_FILE = f"""domain: bench
descriptors:
- {{key: one, rate_limit: {{unit: year, requests_per_unit: {_COUNT}}}}}
- {{key: two, rate_limit: {{unit: year, requests_per_unit: {_COUNT}}}}}
- {{key: three, rate_limit: {{unit: year, requests_per_unit: {_COUNT}}}}}
- {{key: none, rate_limit: {{unit: year, requests_per_unit: 1}}}}
"""
# Enough connections that the kernel shares them out among processes.
_CONNECTIONS, _STREAMS = 8, 4
_GROUP = 5
_INTERVAL_MS = 10.0
# Between the requests of a group: each is asked about by itself, as those are that do not wait.
_STEP_MS = 3.0
_ERROR_MS_MAX = 5.0
Samples = list[tuple[float, float]]


def run(*, quick: bool, console: Console) -> Result:
    """Both."""
    ours: dict[str, float | int | str] = {}
    result = Result("asked", "decisions/s, ms", ours)
    with tempfile.TemporaryDirectory(prefix="moreton-bench-") as name:
        folder = Path(name)
        _decisions(result, ours, folder, quick=quick, console=console)
        _waits(result, ours, folder, quick=quick, console=console)
    return result


def _decisions(
    result: Result,
    ours: dict[str, float | int | str],
    folder: Path,
    *,
    quick: bool,
    console: Console,
) -> None:
    file = folder / "bench.yaml"
    file.write_text(_FILE)
    exact = True
    for processes in (1, 2):
        port = free_port()
        command = [sys.executable, "-m", "moreton.cli.main", "limits", "serve", str(file)]
        command += ["--listen", f"127.0.0.1:{port}", "--processes", str(processes)]
        command += ["--store", str(folder / f"counts-{processes}")]
        with running(command, log=folder / "serve.log", port=port):
            _warm(port, processes)
            rows = [("1 descriptor", ["one"]), ("3 descriptors", ["one", "two", "three"])]
            rows = [*rows, ("refused", ["none"])]
            for row, keys in rows[:1] if quick else rows:
                console.print(f"asking {processes} process(es), {row}")
                rate, same = _asked(port, folder, keys, seconds=0.5 if quick else 5.0)
                ours[f"decisions/s, {row}, {processes} process(es)"] = round(rate)
                exact = exact and same
    result.checks["what the service counted is what it answered"] = exact


def _warm(port: int, processes: int) -> None:
    """Until every process answers."""
    for _ in range(40 * processes):
        _ask(port, ["warm"])


def _asked(port: int, folder: Path, keys: list[str], *, seconds: float) -> tuple[float, bool]:
    """Decisions a second, and whether as many were counted."""
    body = _question(keys).SerializeToString()
    data = folder / "question"
    data.write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
    before = _left(port, keys[0])
    command = [need("h2load"), f"-c{_CONNECTIONS}", f"-m{_STREAMS}", "-t1", f"-d{data}"]
    command += [
        f"-D{round(seconds * 1000)}ms",
        "--warm-up-time=0",
        "-H",
        "content-type: application/grpc",
    ]
    command += ["-H", "te: trailers", f"http://127.0.0.1:{port}{METHOD}"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60).stdout
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", told)
    done = re.search(r"requests: \d+ total, (\d+) started, (\d+) done, (\d+) succeeded", told)
    assert rate is not None, told
    assert done is not None, told
    counted = before - _left(port, keys[0])
    if keys[0] == "none":
        return float(rate[1]), True
    # What was under way when the time was over may have been counted.
    under_way = _CONNECTIONS * _STREAMS
    return float(rate[1]), 0 <= counted - int(done[3]) <= under_way


def _question(keys: list[str], hits: int | None = None) -> rls_pb2.RateLimitRequest:
    request = rls_pb2.RateLimitRequest(domain="bench")
    for key in keys:
        descriptor = request.descriptors.add()
        descriptor.entries.add(key=key, value="client-7")
        if hits is not None:
            descriptor.hits_addend.value = hits
    return request


def _left(port: int, key: str) -> int:
    return int(_ask(port, [key], 0).statuses[0].limit_remaining)


def _ask(port: int, keys: list[str], hits: int | None = None) -> rls_pb2.RateLimitResponse:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=rls_pb2.RateLimitRequest.SerializeToString,
            response_deserializer=rls_pb2.RateLimitResponse.FromString,
        )
        return call(_question(keys, hits), timeout=20, wait_for_ready=True)


def _waits(
    result: Result,
    ours: dict[str, float | int | str],
    folder: Path,
    *,
    quick: bool,
    console: Console,
) -> None:
    port = free_port()
    backend = [sys.executable, "-m", "bench.gatewaylimits.waited", str(port)]
    rate = f"{1000 / _INTERVAL_MS:g}/s"
    configuration = {
        "services": {"app": {"addresses": [f"127.0.0.1:{port}"]}},
        "routes": {"all": {"path": "/*", "to": "app"}},
        "limits": {
            "slow": {
                "match": {"paths": "/slow"},
                "scope": "exact",
                "verdict": "delay",
                "wait": "500ms",
                "limit": rate,
                "burst": 1,
            },
            "fast": {"match": {"paths": "/fast"}, "scope": "exact", "limit": "100000/s"},
        },
    }
    with (
        running(backend, log=folder / "backend.log", port=port),
        fleet(folder / "fleet", configuration) as made,
    ):
        console.print("waiting at the gateway")
        # Of fewer waits in a run the 99th percentile is the longest, whatever held it up.
        runs, rounds = (3, 40) if quick else (15, 60)
        found = [asyncio.run(_measure(made.port, rounds)) for _ in range(runs)]
    _judge(result, ours, found, rounds)


def _judge(
    result: Result,
    ours: dict[str, float | int | str],
    found: Sequence[Mapping[str, Samples]],
    rounds: int,
) -> None:
    """Figures are medians of those of the runs, as each has its own share of what disturbs it."""
    ours["waits that were computed, ms, median"] = round(
        median([wait for samples in found for _, wait in samples["/slow"] if wait]), 2
    )
    errors, enough = [], True
    for samples in found:
        alone = [took for took, _ in samples["/fast"]]
        beyond = [took - wait for took, wait in samples["/slow"] if wait]
        # What the machine does to both is in both: they come at the same time.
        errors.append(percentile(beyond, 0.99) - percentile(alone, 0.99))
        enough = enough and len(beyond) >= rounds * (_GROUP - 2)
    for name, at in (("median", 0.5), ("p99", 0.99)):
        alone = [percentile([took for took, _ in each["/fast"]], at) for each in found]
        beyond = [percentile([took - w for took, w in each["/slow"] if w], at) for each in found]
        ours[f"a request that waits for nothing, ms, {name}"] = round(median(alone), 2)
        ours[f"one that waits, beyond its wait, ms, {name}"] = round(median(beyond), 2)
    error = median(errors)
    ours["error of a wait, ms, p99"] = round(error, 2)
    ours["error of a wait, ms, p99, least"] = round(min(errors), 2)
    ours["error of a wait, ms, p99, most"] = round(max(errors), 2)
    result.checks["p99 of what waiting adds is the computed wait, within 5 ms"] = (
        enough and abs(error) <= _ERROR_MS_MAX
    )


async def _measure(port: int, rounds: int) -> dict[str, Samples]:
    """By path, of each request: what it took, and how long it was to wait; in ms."""
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * _GROUP - 1)]
    slow, fast = lines[:_GROUP], lines[_GROUP:]
    await _until_limited(slow)
    found: dict[str, Samples] = {"/slow": [], "/fast": []}
    for _ in range(rounds):
        # Until nobody waits any more.
        await asyncio.sleep(2 * _INTERVAL_MS / 1000)
        began = time.perf_counter()
        calls = [
            *(
                _request(line, "/slow", began + turn * _STEP_MS / 1000)
                for turn, line in enumerate(slow)
            ),
            *(
                _request(line, "/fast", began + turn * _INTERVAL_MS / 1000)
                for turn, line in enumerate(fast, 1)
            ),
        ]
        told = await asyncio.gather(*calls)
        found["/slow"].extend(told[:_GROUP])
        found["/fast"].extend(told[_GROUP:])
    for _, writer in lines:
        writer.close()
    return found


async def _until_limited(
    lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> None:
    """Until the gateway has the limits and the service answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now = time.perf_counter()
        told = await asyncio.gather(*(_request(line, "/slow", now) for line in lines))
        if any(wait for _, wait in told):
            return
        await asyncio.sleep(0.2)
    raise RuntimeError("no request was made to wait")


async def _request(
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, began: float
) -> tuple[float, float]:
    """What a request takes that comes when it is *began*, and how long it was to wait; in ms."""
    reader, writer = line
    await asyncio.sleep(began - time.perf_counter())
    writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    took = (time.perf_counter() - began) * 1000
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length is not None else 0)
    return took, float(body) if head.startswith(b"HTTP/1.1 200") and body else 0.0
