"""The life of a stream in virtual time: outages of any length, registries that forgot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId
from moreton.registry.core.documents import to_document
from moreton.registry.discovery.core.events import ServerEvent
from moreton.registry.discovery.core.following import (
    PAUSE_CAP,
    Announce,
    Following,
    FollowingEffect,
    OpenStream,
    Phase,
    Publish,
    StreamBroke,
    StreamTold,
)
from moreton.registry.discovery.core.known import DOUBT, Snapshot

MINUTE = timedelta(minutes=1)


def instance(number: int) -> Instance:
    return Instance(InstanceId(f"i-{number}"), "orders", "10.0.0.1", 8000 + number)


def told(name: str, revision: int, **data: Any) -> StreamTold:
    document = {"revision": revision, **data}
    return StreamTold(ServerEvent(name, json.dumps(document), str(revision)))


def listed(revision: int, *numbers: int) -> StreamTold:
    documents = [to_document(instance(number)) for number in numbers]
    return told("listed", revision, instances=documents)


class Script:
    """A follower in virtual time; what is published and opened is kept."""

    def __init__(self, remembered: Snapshot | None = None) -> None:
        self.now = Instant(0)
        self.machine = Following("orders", rng=seeded_rng(7), now=self.now, remembered=remembered)
        self.opened = 0
        self.announced: list[Phase] = []
        self.published: list[Snapshot] = []
        self.pass_time(timedelta(0))

    def hear(self, *events: StreamTold | StreamBroke) -> None:
        for event in events:
            self._note(self.machine.handle(event, self.now))

    def pass_time(self, length: timedelta, *, refused: bool = False) -> None:
        """Let *length* pass; each stream that is opened meanwhile is *refused*, if so."""
        end = self.now + length
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            opened = self.opened
            self._note(self.machine.wake(self.now))
            if refused and self.opened > opened:
                self.hear(StreamBroke("connection refused"))
            elif self.opened > opened:
                break
        self.now = max(self.now, end)

    def known(self) -> set[str]:
        return {each.id.removeprefix("i-") for each in self.machine.snapshot().instances}

    def _note(self, effects: Sequence[FollowingEffect]) -> None:
        for effect in effects:
            match effect:
                case OpenStream():
                    self.opened += 1
                case Announce(phase, _):
                    self.announced.append(phase)
                case Publish(snapshot):
                    self.published.append(snapshot)


def test_changes_are_followed_in_order() -> None:
    script = Script()
    assert script.opened == 1
    assert not script.machine.is_answered
    script.hear(
        listed(3, 1, 2),
        told("registered", 4, instance=to_document(instance(3))),
        told("removed", 5, service="orders", id="i-1"),
    )
    assert [len(each.instances) for each in script.published] == [2, 3, 2]
    assert script.known() == {"2", "3"}
    assert script.published[-1] == Snapshot(
        "orders", (instance(2), instance(3)), revision=5, is_live=True
    )


def test_ten_minutes_without_a_registry_lose_nothing() -> None:
    script = Script()
    script.hear(listed(3, 1, 2), StreamBroke("it was killed"))
    before = script.opened
    script.pass_time(10 * MINUTE, refused=True)
    assert script.known() == {"1", "2"}
    assert not script.machine.snapshot().is_live
    tries = script.opened - before
    assert 10 * MINUTE / PAUSE_CAP < tries < 10 * 10 * MINUTE / PAUSE_CAP
    assert script.announced == [Phase.LIVE, Phase.APART, Phase.APART]


def test_list_after_a_gap_tells_who_came_and_who_died_meanwhile() -> None:
    script = Script()
    script.hear(listed(3, 1, 2, 3, 4), told("removed", 4, id="i-1"), StreamBroke("gone"))
    script.pass_time(MINUTE)
    assert script.opened == 2
    script.hear(listed(9, 3, 4, 5))
    assert script.known() == {"3", "4", "5"}
    assert script.machine.phase is Phase.LIVE


def test_registry_that_comes_back_without_its_memory_takes_nothing_away_at_once() -> None:
    script = Script()
    script.hear(listed(30, 1, 2, 3), StreamBroke("gone"))
    script.pass_time(10 * MINUTE, refused=True)
    script.pass_time(PAUSE_CAP)
    script.hear(listed(1))
    assert script.known() == {"1", "2", "3"}
    script.hear(
        told("registered", 2, instance=to_document(instance(1))),
        told("registered", 3, instance=to_document(instance(2))),
    )
    script.pass_time(DOUBT)
    assert script.known() == {"1", "2"}, "the third died meanwhile"


def test_thousand_that_die_in_a_second_are_gone_though_no_one_could_tell_each() -> None:
    script = Script()
    script.hear(listed(3, *range(1000)), listed(1003))
    assert script.known() == set()


def test_doubt_ends_while_the_registry_is_away_again() -> None:
    script = Script()
    script.hear(listed(30, 1, 2, 3), StreamBroke("gone"))
    script.pass_time(PAUSE_CAP)
    script.hear(listed(1, 1), StreamBroke("gone"))
    script.pass_time(MINUTE, refused=True)
    assert script.known() == {"1"}


def test_start_from_a_copy_is_an_answer_before_anybody_answers() -> None:
    remembered = Snapshot("orders", (instance(1), instance(2)))
    script = Script(remembered)
    assert script.machine.is_answered
    script.hear(StreamBroke("connection refused"))
    script.pass_time(MINUTE, refused=True)
    assert script.known() == {"1", "2"}
    script.pass_time(MINUTE)
    script.hear(listed(80, 2, 3))
    assert script.known() == {"2", "3"}


def test_silence_from_the_start_is_no_answer() -> None:
    script = Script()
    script.hear(StreamBroke("no control plane was found"))
    script.pass_time(MINUTE, refused=True)
    assert not script.machine.is_answered
    assert script.published == []
    assert script.machine.trouble == "connection refused"
    assert script.announced == [Phase.SEEKING, Phase.SEEKING]


def test_clients_of_a_node_that_stopped_do_not_come_back_as_one() -> None:
    moments = set()
    for seed in range(100):
        machine = Following("orders", rng=seeded_rng(seed), now=Instant(0))
        machine.wake(Instant(0))
        machine.handle(StreamBroke("gone"), Instant(0))
        deadline = machine.deadline()
        assert deadline is not None
        moments.add(deadline.nanos // 1_000_000)
    assert max(moments) < 200
    assert len(moments) > 50


@pytest.mark.parametrize(
    "event",
    [
        ServerEvent("listed", "{", "9"),
        ServerEvent("listed", '{"instances": 7}', "9"),
        ServerEvent("registered", "[]", "9"),
        ServerEvent("removed", "null", "9"),
        ServerEvent("renamed", "{}", "9"),
    ],
)
def test_what_cannot_be_read_changes_nothing(event: ServerEvent) -> None:
    script = Script()
    script.hear(listed(3, 1), StreamTold(event))
    assert script.known() == {"1"}
    assert script.machine.snapshot().revision == 3
    assert len(script.published) == 1
