"""A write is never copied: the candidate runs it dry, and what it would have written is told."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from e2e.compare.test_collector import compared, until
from moreton.gateway.core.model import Copies
from moreton.strangler.compare import Differences
from moreton.strangler.compare.core.documents import Task
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.core.noise.learning import ASKED_MIN
from moreton.strangler.compare.serving.collector import Collector
from support.fronted import showing
from support.shown_requests import collecting
from support.static_envoy import static_envoy
from support.waits import ANSWER_SECONDS, end_at_once, line_of

pytestmark = pytest.mark.e2e
KEY = "a key that nobody guesses"
# Envoy may lose a sample.
LOST_SECONDS = 5.0
PROGRAM = Path(__file__).parents[2] / "support" / "dry_shops.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shops")


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[Mapping[str, int]]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(line_of(process.stdout, "the ports", ANSWER_SECONDS))
    finally:
        end_at_once(process)


@pytest.fixture(scope="module")
def gateway(folder: Path, ports: Mapping[str, int]) -> Iterator[int]:
    """Shows what goes to the shop, and asks what it wrote."""
    copies = Copies(frozenset({"GET", "POST"}), asks=True, key=KEY)
    compiler = showing(folder / "copies.sock", ports["shop"], copies)
    with static_envoy(compiler.take()[0]) as envoy:
        yield envoy.ports["public/0"]


def sold(folder: Path, name: str) -> int:
    with closing(sqlite3.connect(folder / f"{name}.sqlite")) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM cart").fetchone()[0])


def buy(port: int, item: str) -> dict[str, str]:
    """The header fields of the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        fields = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/buy?from=page", f"item={item}", fields)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (201, {"bought": item})
        return {name.lower(): value for name, value in answer.getheaders()}


def sell(
    folder: Path, ports: Mapping[str, int], gateway: int, candidate: str, count: int
) -> Collector:
    """The collector that has seen *count* purchases, with *candidate* beside the shop."""
    collector = Collector(folder / f"{candidate}.kept")
    live = Live("all", "shop", "new", side_effects=SideEffects.RECORDED, dry_run=True,
                methods=frozenset({"GET", "POST"}))  # fmt: skip
    shop, other = ([("127.0.0.1", ports[name])] for name in ("shop", candidate))
    collector.follow({"all": Task(live, shop, other)})
    before = sold(folder, "shop")
    with collecting(collector, folder / "copies.sock"):
        bought = 0
        until_all = time.monotonic() + ANSWER_SECONDS
        while compared(collector) < count:
            assert time.monotonic() < until_all, collector.counts()
            seen = compared(collector)
            fields = buy(gateway, f"fig {bought}")
            assert "x-moreton-effects" not in fields, "that is for the collector alone"
            bought += 1
            lost_at = time.monotonic() + LOST_SECONDS
            while compared(collector) == seen and time.monotonic() < lost_at:
                time.sleep(0.002)
    assert sold(folder, "shop") == before + bought, "each was bought once"
    return collector


@pytest.fixture(autouse=True)
def knows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORETON_DRY_RUN_KEY", KEY)


def test_a_candidate_that_would_write_the_same_is_found_to(
    folder: Path, ports: Mapping[str, int], gateway: int
) -> None:
    collector = sell(folder, ports, gateway, "new", ASKED_MIN + 3)
    assert sold(folder, "new") == 0, "what it wrote was taken back"
    counts = collector.counts()["all"]
    assert (counts.different, counts.unanswered) == (0, 0)
    assert counts.compared >= ASKED_MIN + 3


def test_a_candidate_that_would_write_something_else_is_told_of(
    folder: Path, ports: Mapping[str, int], gateway: int
) -> None:
    collector = sell(folder, ports, gateway, "wrong", ASKED_MIN + 3)
    assert sold(folder, "wrong") == 0
    assert collector.counts()["all"].different >= 2
    with Differences(collector.path) as differences:
        (group,) = differences.groups()
        pair = differences.pair(group.pairs[0])
    assert group.shape.endpoint == "POST /buy (writes)"
    assert group.shape.field == "$['insert cart'][*].price"
    assert pair.request == "DRY-RUN POST /buy"
    assert "9.99" in pair.primary
    assert "999" in pair.candidate


def test_a_candidate_without_an_agent_never_gets_a_write(
    folder: Path, ports: Mapping[str, int], gateway: int
) -> None:
    collector = sell(folder, ports, gateway, "bare", 2)
    assert sold(folder, "bare") == 0
    assert collector.counts()["all"].unanswered >= 2
    with Differences(collector.path) as differences:
        (group,) = differences.groups()
        assert "no agent that knows the key" in differences.pair(group.pairs[0]).candidate


def test_without_the_key_nothing_is_run_dry(
    folder: Path, ports: Mapping[str, int], gateway: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORETON_DRY_RUN_KEY", "")
    collector = Collector(folder / "no_key.kept")
    live = Live("all", "shop", "new", side_effects=SideEffects.RECORDED, dry_run=True,
                methods=frozenset({"POST"}))  # fmt: skip
    shop, new = ([("127.0.0.1", ports[name])] for name in ("shop", "new"))
    collector.follow({"all": Task(live, shop, new)})
    with collecting(collector, folder / "copies.sock"):
        buy(gateway, "fig")
        until(lambda: collector.counts().get("all") is not None)
    assert collector.counts()["all"].skipped == 1
    assert sold(folder, "new") == 0


def test_nobody_from_outside_asks_or_is_told(
    ports: Mapping[str, int], gateway: int, folder: Path
) -> None:
    before = sold(folder, "shop")
    asking = {"x-moreton-effects": f"dry; key={KEY}", "x-moreton-dry-run": "POST /buy"}
    with closing(http.client.HTTPConnection("127.0.0.1", gateway, timeout=30)) as connection:
        connection.request("OPTIONS", "/.well-known/moreton/dry-run", headers=asking)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("x-moreton-effects") is None
    with closing(http.client.HTTPConnection("127.0.0.1", ports["shop"], timeout=30)) as connection:
        connection.request("OPTIONS", "/.well-known/moreton/dry-run", "item=a", asking)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("x-moreton-effects", "").startswith("dry")
    assert sold(folder, "shop") == before
