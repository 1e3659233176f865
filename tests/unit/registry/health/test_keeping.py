from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from moreton.kernel.time import Instant
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.health.core.keeping import (
    AT_ONCE,
    OPEN_MAX,
    SILENT_MAX,
    Answer,
    Keeping,
    Knock,
    Knocked,
    LetGo,
    ServiceSeen,
)

SECOND = timedelta(seconds=1)


def instance(number: int) -> Instance:
    return Instance(InstanceId(f"i{number}"), "shop", "10.0.0.1", 8000 + number)


@dataclass(slots=True)
class Watch:
    """A service of which some fell; what comes of knocking is known at once."""

    answer: Callable[[int], Answer]
    fallen: set[int]
    living: tuple[int, ...] = ()
    is_protected: bool = True
    replaced: frozenset[int] = frozenset()
    registered: bool = False
    at: timedelta = timedelta(0)
    keeping: Keeping = field(default_factory=Keeping)
    gone: dict[int, str] = field(default_factory=dict)
    knocks: list[int] = field(default_factory=list)

    def see(self) -> None:
        ids = {InstanceId(f"i{number}"): instance(number) for number in sorted(self.fallen)}
        seen = ServiceSeen(
            "shop",
            ids,
            frozenset(InstanceId(f"i{number}") for number in self.replaced),
            tuple(map(instance, self.living)),
            self.is_protected,
            frozenset(ids) if self.registered else frozenset(),
        )
        self._perform(self.keeping.handle(seen, self._now()))

    def run(self, span: timedelta) -> None:
        end = self.at + span
        self.see()
        while (deadline := self.keeping.deadline()) is not None:
            due = deadline - Instant(0)
            if due > end:
                break
            self.at = max(due, self.at)
            self._perform(self.keeping.wake(self._now()))
        self.at = end

    def _now(self) -> Instant:
        return Instant(0) + self.at

    def _perform(self, effects: object) -> None:
        for effect in effects:  # type: ignore[attr-defined]
            if isinstance(effect, Knock):
                number = effect.instance.port - 8000
                self.knocks.append(number)
                knocked = Knocked("shop", effect.instance.id, self.answer(number))
                self._perform(self.keeping.handle(knocked, self._now()))
            elif isinstance(effect, LetGo):
                number = int(effect.id[1:])
                if number in self.fallen:
                    self.gone[number] = effect.why
                    self.fallen.discard(number)
                    self.see()


def refused(_: int) -> Answer:
    return Answer.REFUSED


def silent(_: int) -> Answer:
    return Answer.SILENT


def test_who_refuses_is_let_go_at_once_when_those_that_live_answer() -> None:
    watch = Watch(lambda n: Answer.OPEN if n == 9 else Answer.REFUSED, {1, 2}, living=(9,))
    watch.run(SECOND)
    assert watch.gone == {
        1: "nothing listens at 10.0.0.1:8001 any more",
        2: "nothing listens at 10.0.0.1:8002 any more",
    }


def test_who_refuses_is_let_go_when_nobody_lives_to_compare() -> None:
    watch = Watch(refused, {1, 2, 3})
    watch.run(SECOND)
    assert sorted(watch.gone) == [1, 2, 3]


def test_who_refuses_is_not_let_go_while_those_that_live_refuse_as_well() -> None:
    watch = Watch(refused, {1, 2, 3}, living=(9,))
    watch.run(SILENT_MAX - SECOND * 20)
    assert watch.gone == {}
    watch.run(SECOND * 40)
    assert sorted(watch.gone) == [1, 2, 3], "nobody is kept for ever"


def test_who_is_silent_is_let_go_soon_when_those_that_live_answer() -> None:
    watch = Watch(lambda n: Answer.OPEN if n == 9 else Answer.SILENT, {1, 2}, living=(9,))
    watch.run(SECOND * 8)
    assert watch.gone[1] == "10.0.0.1:8001 does not answer, and others of its service do"
    assert watch.knocks.count(1) == 3


def test_who_is_silent_is_let_go_soon_when_another_that_fell_answers() -> None:
    watch = Watch(lambda n: Answer.OPEN if n == 2 else Answer.SILENT, {1, 2})
    watch.run(SECOND * 8)
    assert list(watch.gone) == [1]


def test_who_is_silent_like_everybody_is_kept_for_a_while() -> None:
    watch = Watch(silent, {1, 2, 3}, living=(9,))
    watch.run(SILENT_MAX - SECOND * 20)
    assert watch.gone == {}
    watch.run(SECOND * 40)
    assert sorted(watch.gone) == [1, 2, 3]
    assert watch.gone[1] == "10.0.0.1:8001 does not answer for too long"


def test_who_answers_is_kept_longer_and_not_for_ever() -> None:
    watch = Watch(lambda _: Answer.OPEN, {1, 2, 3})
    watch.run(OPEN_MAX - SECOND * 20)
    assert watch.gone == {}
    watch.run(SECOND * 40)
    assert sorted(watch.gone) == [1, 2, 3]


def test_who_answers_and_is_registered_is_kept_while_too_many_fail() -> None:
    watch = Watch(lambda _: Answer.OPEN, {1, 2, 3}, registered=True)
    watch.run(OPEN_MAX * 3)
    assert watch.gone == {}


def test_who_fell_alone_counts_no_more_after_a_while() -> None:
    watch = Watch(lambda _: Answer.OPEN, {1}, living=(2, 3), is_protected=False)
    watch.run(AT_ONCE - SECOND)
    assert watch.gone == {}
    watch.run(SECOND * 20)
    assert watch.gone == {1: "few others fell with it"}


def test_who_has_a_successor_at_its_address_is_let_go_at_once() -> None:
    watch = Watch(silent, {1, 2}, replaced=frozenset({2}))
    watch.see()
    assert watch.gone == {2: "another instance is at 10.0.0.1:8002 by now"}


def test_nobody_is_knocked_at_who_came_back() -> None:
    watch = Watch(silent, {1})
    watch.run(SECOND * 2)
    watch.fallen.clear()
    count = len(watch.knocks)
    watch.run(SECOND * 60)
    assert len(watch.knocks) == count


def test_thousand_that_fell_are_judged_in_little_work() -> None:
    watch = Watch(lambda n: Answer.OPEN if n >= 2000 else Answer.SILENT, set(range(1000)), (2000,))
    watch.keeping.handle(
        ServiceSeen(
            "shop",
            {InstanceId(f"i{n}"): instance(n) for n in range(1000)},
            frozenset(),
            (instance(2000),),
            is_protected=True,
            registered=frozenset(),
        ),
        Instant(0),
    )
    effects = watch.keeping.wake(Instant(0))
    assert len(effects) == 1000
    for effect in effects:
        assert isinstance(effect, Knock)
        after = watch.keeping.handle(
            Knocked("shop", effect.instance.id, Answer.REFUSED), Instant(0)
        )
        assert not any(isinstance(each, LetGo) for each in after), "the living was not heard yet"
    gone = watch.keeping.handle(Knocked("shop", InstanceId("i2000"), Answer.OPEN), Instant(0))
    assert len(gone) == 1000
