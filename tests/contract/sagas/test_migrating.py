"""Sagas that run go on by another version of their definition, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from moreton.transactions.saga import Run, Saga, Sagas, Status, step
from moreton.transactions.saga.errors import SagaNotRegistered

PATIENCE = timedelta(seconds=30)


def test_worker_within_a_step_is_fenced_off_and_the_step_asked_for_again(url: str) -> None:
    reached, go = threading.Event(), threading.Event()
    calls: list[str] = []

    @step(harmless=True)
    def slow(run: Run[Any]) -> int:
        calls.append(run.key)
        reached.set()
        assert go.wait(30)
        return len(calls)

    @step(harmless=True)
    def added(run: Run[Any]) -> str:
        return f"after {run[slow]}"

    old = Saga("order", slow, locks=lambda _: ["all"])
    new = Saga("order", slow, added, version=2)
    with Sagas(url, old, new) as sagas:
        handle, behind = sagas.start(old, id="a"), sagas.start(old, id="b")
        assert reached.wait(30)
        assert [one.why for one in sagas.migrate(old, new, id="a", dry_run=True)] == [""]
        assert [(one.id, one.why) for one in sagas.migrate(old, new, id="a")] == [("a", "")]
        go.set()
        assert sagas.find("a").wait(PATIENCE)[added].startswith("after ")
        assert handle.status() is Status.COMPLETED
        assert behind.wait(PATIENCE)  # the lock that the old version took was let go
        assert calls == ["a/slow", "a/slow", "b/slow"]


def test_input_that_the_new_version_cannot_read_keeps_the_saga_where_it_is(url: str) -> None:
    go = threading.Event()

    @step(harmless=True)
    def hold(_: object) -> None:
        assert go.wait(30)

    old, new = Saga("order", hold), Saga("order", hold, version=2, input=int)
    with Sagas(url, old, new) as sagas:
        handle = sagas.start(old, "no number", id="a")
        (one,) = sagas.migrate(old, new)
        assert one.why.startswith("its input cannot be read by version 2")
        go.set()
        assert handle.wait(PATIENCE)
        assert sagas.migrate(old, new) == []
        with pytest.raises(ValueError, match="give two versions of one saga"):
            sagas.migrate(old, old)
        with pytest.raises(SagaNotRegistered):
            sagas.migrate(old, Saga("order", hold, version=3))
