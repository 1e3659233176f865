from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from moreton.cli.exits import Exit, guarded
from moreton.cli.main import application
from moreton.transactions.saga import Saga, Sagas, Signal, Status, pivot, step
from moreton.transactions.saga.queues import Queue
from moreton.transactions.saga.schedules import Cron, Schedule
from support.saga_shop import Shop, break_down, decline

pytestmark = pytest.mark.slow

FIG = {"article": "fig"}
PATIENCE = timedelta(seconds=30)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = f"sqlite:///{tmp_path}/sagas.sqlite"
    monkeypatch.setenv("MORETON_SAGAS", where)
    return where


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        command = application(["saga"])
        status = guarded(lambda: command(["saga", *words], standalone_mode=False))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def parked(url: str, shop: Shop, *, undo: bool = False) -> None:
    shop.fails |= {"pay": decline, "un-stock": break_down} if undo else {"pay": break_down}
    with Sagas(url, shop.order) as sagas:
        assert sagas.run(shop.order, FIG, id="a").status is Status.PARKED
    shop.fails.clear()


def test_show_tells_the_story_of_a_failure(url: str, run: Run) -> None:
    shop = Shop()
    shop.fails["pay"] = decline
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
    status, out, _ = run("show", "a")
    assert status == Exit.OK
    told = [line.split(maxsplit=2)[2] for line in out.splitlines()[3:]]
    assert told[0] == '▶          begun with {"article":"fig"}'
    assert told[1] == '✓ stock    "stock of fig"'
    assert told[4:6] == ["✗ pay      said no: no more figs", "←          goes back"]
    assert told[-2:] == ["↶ stock    undone", "■          compensated"]


def test_show_says_what_a_person_has_to_decide(url: str, run: Run) -> None:
    parked(url, Shop())
    _, out, _ = run("show", "a")
    assert 'A person has to decide. "pay" failed without an answer' in out
    for word in ("moreton saga retry a", "moreton saga skip a", "moreton saga compensate a"):
        assert word in out
    assert "go back, undoing courier, money, stock" in out


def test_show_names_what_an_undo_left_behind(url: str, run: Run) -> None:
    parked(url, Shop(), undo=True)
    _, out, _ = run("show", "a", "--json")
    told = json.loads(out)
    assert told["steps"] == {
        "stock": "stuck", "money": "undone", "courier": "undone", "pay": "failed", "mail": "",
    }  # fmt: skip
    assert "what it did as a/stock is still there" in told["question"]
    assert set(told["options"]) == {"retry", "skip"}


def test_decision_is_taken_up_by_an_engine_that_runs(url: str, run: Run) -> None:
    shop = Shop()
    parked(url, shop)
    with Sagas(url, shop.order) as sagas:
        status, out, _ = run("skip", "a", "--note", "paid by hand")
        assert status == Exit.OK
        assert "skip is written" in out
        assert sagas.find("a").wait(PATIENCE).status is Status.COMPLETED
    _, out, _ = run("show", "a")
    assert "paid by hand" in out
    assert run("retry", "a")[0] == Exit.REFUSED


def test_list_shows_those_that_are_asked_for(url: str, run: Run) -> None:
    shop = Shop()
    parked(url, shop)
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="b")
    _, out, _ = run("list", "--json")
    assert [row["id"] for row in json.loads(out)] == ["b", "a"]
    _, out, _ = run("list", "--status", "parked")
    assert out.splitlines()[1].split()[:3] == ["a", "order", "parked"]
    _, out, _ = run("list", "--name", "other")
    assert out == "no sagas\n"


def test_picture_is_an_svg_with_a_row_for_each_step(url: str, run: Run, tmp_path: Path) -> None:
    parked(url, Shop(), undo=True)
    status, out, _ = run("show", "a", "--svg", str(tmp_path / "a.svg"), "--mermaid")
    assert status == Exit.OK
    assert "class s0 stuck" in out
    root = ET.fromstring((tmp_path / "a.svg").read_text())  # noqa: S314 - our own
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"stock", "money", "courier", "pay", "mail", "goes back"} <= words


def test_picture_that_cannot_be_written_is_said(url: str, tmp_path: Path) -> None:
    parked(url, Shop())
    words = ["saga", "show", "a", "--svg", str(tmp_path / "nowhere" / "a.svg")]
    result = CliRunner().invoke(application(words), words)
    assert result.exit_code == Exit.USAGE
    assert "Invalid value for --svg" in result.output


def test_decision_is_noted_of_a_user_whom_the_machine_cannot_name(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # as in many containers
    parked(url, Shop())
    assert run("skip", "a", "--note", "by hand")[0] == Exit.OK
    assert "somebody@" in run("show", "a")[1]


def test_what_is_not_there_is_said_and_nothing_is_made(url: str, run: Run, tmp_path: Path) -> None:
    status, _, error = run("list")
    assert status == Exit.TROUBLE
    assert "there is no such file" in error
    assert not (tmp_path / "sagas.sqlite").exists()
    parked(url, Shop())
    status, _, error = run("show", "b")
    assert status == Exit.REFUSED
    assert 'no saga has the id "b"' in error
    status, _, error = run("signal", "a", "go")
    assert status == Exit.REFUSED
    assert "no signal at all" in error
    assert run("list", "--at", "mysql://x")[0] == Exit.TROUBLE


def test_schedules_are_listed_paused_and_begun_now(url: str, run: Run) -> None:
    saga = Saga("report")
    nightly = Schedule("nightly", saga, Cron("0 3 1 1 *"))
    status, out, _ = run("schedules", "--at", url.replace("sagas.", "none."))
    assert status == Exit.TROUBLE
    with Sagas(url, schedules=[nightly]) as sagas:
        assert run("schedules", "pause", "nightly")[1] == "nightly: paused\n"
        (told,) = json.loads(run("schedules", "--json")[1])
        assert told["state"] == "paused"
        assert told["when"] == "cron 0 3 1 1 * UTC"
        assert told["last"] is None
        run("schedules", "continue", "nightly")
        assert run("schedules", "now", "nightly")[0] == Exit.OK
        while not sagas._shop.ledger.listed(status=Status.COMPLETED, name="report", most=1):
            threading.Event().wait(0.01)
        (told,) = json.loads(run("schedules", "--json")[1])
        assert told["begun"] == 1
        assert told["last"].startswith("nightly@")
    _, out, _ = run("schedules")
    assert "report version 1" in out
    status, _, error = run("schedules", "pause", "nightl")
    assert status == Exit.REFUSED
    assert 'no schedule is called "nightl"' in error
    run("schedules", "remove", "nightly")
    assert run("schedules")[1] == "no schedules\n"


def test_sagas_that_fit_are_migrated_and_the_others_are_named(url: str, run: Run) -> None:
    @step(harmless=True)
    def check(_: object) -> None: ...

    @pivot
    def pay(_: object) -> str:
        return "paid"

    go = Signal("go")
    old, new = Saga("order", check, go), Saga("order", go, pay, version=2)
    late = Saga("order", check, go, pay, version=3)
    words = ("migrate", "order", "--from", "1", "--to")
    with Sagas(url, old, new, late) as sagas:
        handle = sagas.start(old, id="a")
        while handle.status() is not Status.WAITING:
            threading.Event().wait(0.01)
        _, out, _ = run(*words, "2")
        assert out.startswith("0 of 1 were brought from version 1 to 2\n")
        assert 'which has no step "check"' in out
        status, out, _ = run(*words, "3", "--dry-run", "--json")
        assert status == Exit.OK
        assert json.loads(out) == {"brought": ["a"], "stay": {}, "dry_run": True}
        assert sagas._shop.ledger.listed(status=None, name=None, most=1)[0].version == 1
        assert run(*words, "3")[0] == Exit.OK
        sagas.signal("a", "go", "now")
        outcome = sagas.find("a").wait(PATIENCE)
        assert (outcome[go], outcome[pay]) == ("now", "paid")
    assert "goes on by version 3 instead of 1" in run("show", "a")[1]
    status, _, error = run(*words, "9")
    assert status == Exit.REFUSED
    assert 'saga "order" version 9 is not known, 1, 2, 3 of it are' in error


def test_queues_are_listed_paused_and_gone_on_with(url: str, run: Run) -> None:
    @step(harmless=True)
    def call(_: object) -> None:
        pass

    saga, queue = Saga("call", call), Queue("bank", at_once=10, per_engine=4, rate="100/min")
    with Sagas(url, saga) as sagas:
        sagas.start(saga, id="a", queue=queue)
        sagas.run(saga, id="b")
    assert run("queues")[1].split()[-7:] == ["bank", "10", "4", "100/min", "0", "1", "ok"]
    assert run("queues", "pause", "bank")[1] == "bank: paused\n"
    (told,) = json.loads(run("queues", "--json")[1])
    assert told["paused"]
    assert told["waiting"] == 1
    assert run("show", "a")[1].startswith("a: call version 1, ready, in queue bank\n")
    assert [one["id"] for one in json.loads(run("list", "--queue", "bank", "--json")[1])] == ["a"]
    assert run("queues", "continue", "bank")[1] == "bank: goes on\n"
    status, _, told_error = run("queues", "pause", "bnak")
    assert status != Exit.OK
    assert 'no queue is called "bnak"' in " ".join(told_error.split())
