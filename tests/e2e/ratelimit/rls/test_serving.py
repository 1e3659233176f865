"""`moreton limits serve` as a program: processes that count together, files that change, ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2

from moreton.ratelimit.errors import RateLimitServerNotStarted
from moreton.ratelimit.rls.running.plan import Plan
from moreton.ratelimit.rls.running.workers import run
from support.ports import free_port
from support.waits import line_of, wait_until

pytestmark = pytest.mark.e2e

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
DEADLINE_SECONDS = 30


def written(count: int) -> str:
    limit = f"{{unit: year, requests_per_unit: {count}}}"
    return f"domain: shop\ndescriptors:\n- {{key: who, rate_limit: {limit}}}\n"


@dataclass
class Served:
    folder: Path
    port: int
    pages: int
    process: subprocess.Popen[str]

    def ask(self, who: str, *, domain: str = "shop") -> bool:
        """Whether one request of *who* passes, over a connection of its own."""
        request = rls_pb2.RateLimitRequest(domain=domain)
        request.descriptors.add().entries.add(key="who", value=who)
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            call = channel.unary_unary(
                METHOD,
                request_serializer=rls_pb2.RateLimitRequest.SerializeToString,
                response_deserializer=rls_pb2.RateLimitResponse.FromString,
            )
            answer = call(request, timeout=10, wait_for_ready=True)
        return bool(answer.overall_code == answer.OK)

    def metrics(self) -> list[str]:
        """Of each process."""
        return [self.page("/metrics", process=number)[1] for number in range(2)]

    def page(self, path: str, body: object = None, process: int = 0) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.pages + process}{path}"
        try:
            with urllib.request.urlopen(url, data, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def begin(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "moreton.cli.main", "limits", "serve", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def children(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    # The one that watches over semaphores serves nobody.
    return {
        int(one)
        for one in found
        if b"resource_tracker" not in Path(f"/proc/{one}/cmdline").read_bytes()
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "shop.yaml").write_text(written(5))
    port, pages = free_port(), free_port()
    while free_port() != pages + 1:  # each process has a page
        pages = free_port()
    process = begin(
        str(folder), "--listen", f"127.0.0.1:{port}", "--processes", "2",
        "--store", str(folder / "counts"), "--metrics", f"127.0.0.1:{pages}",
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = {line_of(process.stdout, "that it answers") for _ in range(2)}
        assert {line[:9] for line in lines} == {"limits 0:", "limits 1:"}, lines
        yield Served(folder, port, pages, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def test_its_processes_count_together_exactly(served: Served) -> None:
    assert sum(served.ask("ada") for _ in range(12)) == 5


def test_what_it_counted_is_in_metrics_and_it_answers_json_and_health(served: Served) -> None:
    entries = [{"key": "who", "value": "grace"}]
    asked = {"domain": "shop", "descriptors": [{"entries": entries}]}
    statuses = [served.page("/json", asked)[0] for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert served.page("/json", {"domain": ""})[0] == 400
    assert served.page("/json", ["x"])[0] == 400
    assert served.page("/healthcheck") == (200, "OK")
    assert served.page("/else")[0] == 404
    text = served.metrics()[0]
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = '{domain="shop",key1="who"}'
    assert int(lines[f"ratelimit_service_rate_limit_total_hits{labels}"]) >= 6
    assert int(lines[f"ratelimit_service_rate_limit_over_limit{labels}"]) >= 1


def test_edits_are_served_and_bad_ones_are_not(served: Served) -> None:
    assert [served.ask("linus") for _ in range(5)] == [True] * 5
    file = served.folder / "shop.yaml"
    file.write_text("domain: shop\ndescriptors:\n- {keyy: who}\n")
    wait_until(lambda: all("config_load_error 1" in one for one in served.metrics()), "the error")
    assert served.ask("hopper")
    file.write_text(written(7))
    wait_until(lambda: all("config_load_success 2" in one for one in served.metrics()), "both")
    # What was counted stays: of seven two are left.
    assert [served.ask("linus") for _ in range(3)] == [True, True, False]


def test_a_process_that_is_killed_is_started_again_and_counts_on(served: Served) -> None:
    before = children(served.process.pid)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(children(served.process.pid) - before) == 1, "another process")
    wait_until(lambda: answers(served), "answers")
    assert not served.ask("ada")


def answers(served: Served) -> bool:
    with contextlib.suppress(grpc.RpcError):
        return not served.ask("ada")
    return False


def test_a_second_one_on_the_same_address_says_so(served: Served) -> None:
    plan = Plan(served.folder, f"127.0.0.1:{served.port}", str(served.folder / "counts"), 2)
    with pytest.raises(RateLimitServerNotStarted, match="cannot be listened on"):
        run(plan, print)


def test_a_store_that_is_none_is_told(served: Served) -> None:
    for processes in (1, 2):
        plan = Plan(served.folder, "127.0.0.1:0", "http://counts", processes)
        with pytest.raises(RateLimitServerNotStarted, match="no address of a Redis"):
            run(plan, print)


def test_a_socket_of_another_program_is_not_taken_over(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "limits.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(RateLimitServerNotStarted, match="another program answers there"):
            run(Plan(served.folder, f"unix:{path}"), print)
