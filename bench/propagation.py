"""From the call that moves a route to the first request that the new destination answers.

1,000 services with 10 instances each and a route for each. One route is moved between two of them
by a change of weights; a prober asks it over one connection, with a rest of 0.3 ms, as it and what
answers it would else take the cores from what is measured. Then again while 100
other changes a second go on. Traefik, with as many services in its file provider, gets the same
move by an atomic rename of its file, its throttle set to nothing; it is stopped by a signal while
ours is measured, since it goes on with a change for a while after the first request has moved.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from bench.fleet import Fleet, fleet
from bench.processes import need, running
from bench.report import Result, median, percentile
from moreton.kernel.ports import free_port

_SERVICES = 1000
_INSTANCES = 10
_CHURN_PER_SECOND = 100
_MOVE_SECONDS_MAX = 30.0
_REST_SECONDS = 0.0003


def run(*, quick: bool, console: Console) -> Result:
    """Measure the moves of ours and of Traefik in turn."""
    moves, rounds = (20, 2) if quick else (100, 5)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {label: _app(stack, folder, label) for label in ("a", "b")}
        made = stack.enter_context(fleet(folder / "moreton", _configuration(ports)))
        traefik = stack.enter_context(_traefik(folder, ports))
        figures: dict[str, list[float]] = {n: [] for n in ("idle", "churn", "to", "traefik")}
        ours = _Mover(made.port, _weights_call(made))
        structural = _Mover(made.port, _destination_call(made), "/moved")
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            figures["idle"] += ours.move(moves)
            figures["to"] += structural.move(max(4, moves // 5))
            with traefik as mover:
                figures["traefik"] += mover.move(max(4, moves // 10))
            with _churn(made) as changes:
                figures["churn"] += ours.move(moves)
        return _result(figures, changes)


def _app(stack: contextlib.ExitStack, folder: Path, label: str) -> int:
    port = free_port()
    command = [sys.executable, "-m", "bench.app", label, str(port), str(_INSTANCES)]
    stack.enter_context(running(command, log=folder / f"{label}.log", port=port))
    return port


def _configuration(ports: dict[str, int]) -> dict[str, object]:
    services: dict[str, object] = {
        label: {"addresses": [f"127.0.0.{n + 1}:{port}" for n in range(_INSTANCES)]}
        for label, port in ports.items()
    }
    routes: dict[str, object] = {
        "probed": {"path": "/probed/*", "to": {"a": 100, "b": 0}},
    }
    for number in range(_SERVICES - len(services)):
        low, high = number % 250 + 1, number // 250 + 1
        addresses = [f"127.{high}.{n}.{low}:9" for n in range(_INSTANCES)]
        services[f"s{number}"] = {"addresses": addresses}
        to = {f"s{number}": 90, "a": 10} if number % 5 == 0 else f"s{number}"
        routes[f"r{number}"] = {"path": f"/api/s{number}/*", "to": to}
    return {"services": services, "routes": routes}


class _Mover:
    """Moves a route to and fro and times each move by asking all the while."""

    def __init__(self, port: int, call: Callable[[str], None], path: str = "/probed") -> None:
        self._port = port
        self._call = call
        self._request = f"GET {path}/x HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
        self._side = "a"

    def move(self, count: int) -> list[float]:
        """The milliseconds that each of *count* moves took."""
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return [self._one(connection) for _ in range(count)]

    def _one(self, connection: socket.socket) -> float:
        self._side = "b" if self._side == "a" else "a"
        wanted = f"x-served-by: {self._side}\r\n".encode()
        start = time.perf_counter()
        caller = threading.Thread(target=self._call, args=(self._side,))
        caller.start()
        while True:
            connection.sendall(self._request)
            answer = connection.recv(65536)
            if wanted in answer.lower():
                break
            if time.perf_counter() - start > _MOVE_SECONDS_MAX:
                raise RuntimeError(
                    f"no answer from {self._side} in {_MOVE_SECONDS_MAX} s: {answer!r}"
                )
            time.sleep(_REST_SECONDS)
        took = (time.perf_counter() - start) * 1000
        caller.join()
        time.sleep(0.02)  # the next move begins on a quiet machine
        return took


class _Api:
    """One kept-alive connection to the API, as quick as Python's own client is."""

    def __init__(self, made: Fleet) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", made.api_port)
        self._headers = {
            "authorization": made.client.headers["authorization"],
            "content-type": "application/json",
        }

    def put(self, path: str, body: object) -> None:
        """PUT, or an error."""
        self._connection.request("PUT", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"PUT {path}: {answer.status} {text!r}")


def _weights_call(made: Fleet) -> Callable[[str], None]:
    api = _Api(made)

    def call(side: str) -> None:
        weights = {"a": 100, "b": 0} if side == "a" else {"a": 0, "b": 100}
        api.put("/v1/routes/probed/weights", weights)

    return call


def _destination_call(made: Fleet) -> Callable[[str], None]:
    api = _Api(made)
    api.put("/v1/routes/moved", {"path": "/moved/*", "to": "a"})
    return lambda side: api.put("/v1/routes/moved", {"path": "/moved/*", "to": side})


@contextlib.contextmanager
def _churn(made: Fleet) -> Iterator[list[int]]:
    """100 changes of other routes' weights a second, on schedule; counts them."""
    stop = threading.Event()
    done = [0]

    def work() -> None:
        api = _Api(made)
        due = time.perf_counter()
        while not stop.is_set():
            number = done[0] * 5 % (_SERVICES - 5)
            weights = {f"s{number}": done[0] % 90 + 1, "a": 10}
            api.put(f"/v1/routes/r{number}/weights", weights)
            done[0] += 1
            due += 1 / _CHURN_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))

    start = time.perf_counter()
    thread = threading.Thread(target=work)
    thread.start()
    rate = [0]
    try:
        yield rate
    finally:
        stop.set()
        thread.join()
        rate[0] = round(done[0] / (time.perf_counter() - start))


class _Stopped:
    """The process *pid* is stopped but while it is the turn of its *mover*."""

    def __init__(self, pid: int, mover: _Mover) -> None:
        self._pid = pid
        self._mover = mover
        os.kill(pid, signal.SIGSTOP)

    def __enter__(self) -> _Mover:
        os.kill(self._pid, signal.SIGCONT)
        return self._mover

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGSTOP)


@contextlib.contextmanager
def _traefik(folder: Path, ports: dict[str, int]) -> Iterator[_Stopped]:
    port = free_port()
    dynamic = folder / "traefik"
    dynamic.mkdir()
    configuration = _traefik_configuration(ports)

    def call(side: str) -> None:
        routers = configuration["http"]["routers"]
        routers["probed"]["service"] = side
        text = json.dumps(configuration)
        (folder / "next.yml").write_text(text)
        (folder / "next.yml").rename(dynamic / "dynamic.yml")

    call("a")
    command = [
        need("traefik"),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.directory={dynamic}",
        "--providers.providersthrottleduration=0s",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    with running(command, log=folder / "traefik.log", port=port) as child:
        time.sleep(1)  # its first load is not measured
        try:
            yield _Stopped(child.pid, _Mover(port, call))
        finally:
            child.send_signal(signal.SIGCONT)


def _traefik_configuration(ports: dict[str, int]) -> dict[str, dict[str, dict[str, dict]]]:  # type: ignore[type-arg]
    ours = _configuration(ports)
    services = ours["services"]
    assert isinstance(services, dict)
    routers = {name: {"rule": f"PathPrefix(`/api/{name}/`)", "service": name} for name in services}
    routers["probed"] = {"rule": "PathPrefix(`/probed/`)", "service": "a"}
    return {
        "http": {
            "routers": routers,
            "services": {
                name: {
                    "loadBalancer": {
                        "servers": [{"url": f"http://{a}"} for a in service["addresses"]]
                    }
                }
                for name, service in services.items()
            },
        }
    }


def _result(figures: dict[str, list[float]], changes: list[int]) -> Result:
    idle, churn = figures["idle"], figures["churn"]
    ours: dict[str, float | int | str] = {
        "p50": percentile(idle, 0.5),
        "p99": percentile(idle, 0.99),
        "churn_p50": percentile(churn, 0.5),
        "churn_p99": percentile(churn, 0.99),
        "destination_p50": percentile(figures["to"], 0.5),
        "destination_p99": percentile(figures["to"], 0.99),
        "moves": len(idle),
        "changes_per_second": changes[0],
    }
    traefik = {
        "p50": percentile(figures["traefik"], 0.5),
        "p99": percentile(figures["traefik"], 0.99),
        "moves": len(figures["traefik"]),
    }
    checks = {
        "p50 <= 10 ms": ours["p50"] <= 10,  # type: ignore[operator]
        "p99 <= 25 ms": ours["p99"] <= 25,  # type: ignore[operator]
        "p99 <= 100 ms under 100 changes a second": percentile(churn, 0.99) <= 100,
        "the changes kept their pace": changes[0] >= 0.9 * _CHURN_PER_SECOND,
    }
    ratio = {"traefik": median(figures["traefik"]) / median(idle)}
    return Result("propagation", "ms", ours, {"traefik": traefik}, ratio, checks)
