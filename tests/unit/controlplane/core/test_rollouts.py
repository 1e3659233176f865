from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from moreton.controlplane.core.rollouts import (
    HEARD_WITHIN,
    Rollout,
    RolloutState,
    Stage,
    Step,
    decode,
    encode,
    next_step,
    to_document,
)
from moreton.registry import Instance, InstanceId
from moreton.registry.core.instructions import Action, Instruction, Phase
from moreton.registry.core.standing import InstanceSource, InstanceState, Order

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = tuple("abcd")
ROLLOUT = Rollout("t", "shop", IDS, NOW, by="me@here")


def instance(name: str, state: InstanceState = InstanceState.SERVING) -> Instance:
    port = 8000 + IDS.index(name)
    source = InstanceSource.RUN
    return Instance(InstanceId(name), "shop", "10.0.0.1", port, state=state, source=source)


ALL = {InstanceId(name): instance(name) for name in IDS}


def told(phase: Phase, *, of: str = "t", age: timedelta = timedelta(0)) -> Instruction:
    return Instruction(Action.RESTART, of, NOW - age, NOW - age, phase=phase, detail="why")


def step(
    instructions: Mapping[str, Instruction] | None = None,
    *,
    rollout: Rollout = ROLLOUT,
    instances: Mapping[InstanceId, Instance] = ALL,
) -> Step:
    known = {InstanceId(name): each for name, each in (instructions or {}).items()}
    return next_step(rollout, instances, known, NOW)


def stages(found: Step) -> str:
    return "".join(each.stage[0] for each in found.standings)


def test_one_after_the_other_is_asked_for() -> None:
    assert step().ask == ("a",)
    assert step({"a": told(Phase.STARTING)}).ask == ()
    found = step({"a": told(Phase.DONE)})
    assert (found.ask, stages(found)) == (("b",), "dwww")
    done = step(dict.fromkeys(IDS, told(Phase.DONE)))
    assert (done.state, done.ask) == (RolloutState.DONE, ())


def test_as_many_as_the_batch_are_asked_for_at_a_time() -> None:
    two = replace(ROLLOUT, batch=2)
    assert step(rollout=two).ask == ("a", "b")
    assert step({"a": told(Phase.DRAINING)}, rollout=two).ask == ("b",)


def test_one_that_has_started_counts_when_it_serves_in_everybodys_eyes() -> None:
    sick = {**ALL, InstanceId("a"): instance("a", InstanceState.CRITICAL)}
    found = step({"a": told(Phase.DONE)}, instances=sick)
    assert (stages(found), found.ask) == ("rwww", ())
    assert found.standings[0].detail == "critical"


def test_one_that_somebody_keeps_out_is_not_waited_for() -> None:
    order = Order(InstanceState.MAINTENANCE, NOW, reason="new disk")
    resting = replace(instance("a", InstanceState.MAINTENANCE), order=order)
    found = step({"a": told(Phase.DONE)}, instances={**ALL, InstanceId("a"): resting})
    assert (stages(found), found.ask) == ("dwww", ("b",))


def test_rollout_stops_at_the_first_that_does_not_come_back() -> None:
    found = step({"a": told(Phase.DONE), "b": told(Phase.FAILED)})
    assert (found.state, found.ask) == (RolloutState.STOPPED, ())
    assert found.reason == 'instance "b" did not come back: why'


def test_one_that_takes_too_long_has_failed() -> None:
    late = step({"a": told(Phase.STARTING, age=ROLLOUT.limit + timedelta(seconds=1))})
    assert late.reason == 'instance "a" did not come back: after 2m it is starting'
    unheard = step({"a": told(Phase.ASKED, age=HEARD_WITHIN + timedelta(seconds=1))})
    assert "nobody heard of it" in unheard.reason
    assert step({"a": told(Phase.ASKED, age=HEARD_WITHIN / 2)}).state is RolloutState.RUNNING


def test_time_without_a_control_plane_does_not_count_as_unheard() -> None:
    asked = {InstanceId("a"): told(Phase.ASKED, age=HEARD_WITHIN * 2)}
    found = next_step(ROLLOUT, ALL, asked, NOW, began=NOW - HEARD_WITHIN / 2)
    assert (found.state, stages(found)) == (RolloutState.RUNNING, "rwww")
    later = next_step(ROLLOUT, ALL, asked, NOW, began=NOW - HEARD_WITHIN * 1.1)
    assert "nobody heard of it" in later.reason
    held = {InstanceId("a"): told(Phase.STOPPING, age=HEARD_WITHIN * 2)}
    without = {who: each for who, each in ALL.items() if who != "a"}
    found = next_step(ROLLOUT, without, held, NOW, began=NOW - HEARD_WITHIN / 2)
    assert found.state is RolloutState.RUNNING, "its lease ended meanwhile: it may come back"


def test_one_whose_runner_died_in_the_middle_has_failed() -> None:
    without = {who: each for who, each in ALL.items() if who != "a"}
    found = step({"a": told(Phase.STOPPING, age=timedelta(seconds=30))}, instances=without)
    assert "while stopping, its `moreton run` ended" in found.reason


def test_one_that_left_before_its_turn_is_passed_over() -> None:
    without = {who: each for who, each in ALL.items() if who != "a"}
    found = step(instances=without)
    assert (stages(found), found.ask) == ("gwww", ("b",))


def test_restart_of_an_earlier_rollout_does_not_count() -> None:
    assert step({"a": told(Phase.DONE, of="before")}).ask == ("a",)
    assert step({"a": told(Phase.FAILED, of="before")}).ask == ("a",)


def test_last_one_that_serves_is_not_taken_but_by_force() -> None:
    only = {InstanceId("a"): instance("a")}
    found = step(rollout=replace(ROLLOUT, ids=("a",)), instances=only)
    assert (found.state, found.ask) == (RolloutState.STOPPED, ())
    assert '"a" is the last that serves' in found.reason
    assert step(rollout=replace(ROLLOUT, ids=("a",), force=True), instances=only).ask == ("a",)


def test_large_batch_leaves_one_that_serves() -> None:
    assert step(rollout=replace(ROLLOUT, batch=9)).ask == ("a", "b", "c")


def test_one_that_is_down_anyway_may_be_started_anew_at_any_time() -> None:
    down = {
        InstanceId("a"): instance("a", InstanceState.CRITICAL),
        InstanceId("b"): instance("b"),
    }
    assert step(rollout=replace(ROLLOUT, ids=("a", "b")), instances=down).ask == ("a",)


def test_rollout_that_was_stopped_or_abandoned_asks_for_nothing() -> None:
    for state in (RolloutState.STOPPED, RolloutState.ABANDONED, RolloutState.DONE):
        found = step(rollout=replace(ROLLOUT, state=state))
        assert (found.ask, found.state) == ((), state)


def test_rollout_is_read_as_it_was_written() -> None:
    for each in (ROLLOUT, replace(ROLLOUT, force=True, state=RolloutState.STOPPED, reason="x")):
        assert decode(encode(each)) == each
    for odd in (b"", b"[]", b"{}", b'{"token": 1}'):
        assert decode(odd) is None


def test_document_counts_what_is_done() -> None:
    found = to_document(ROLLOUT, step({"a": told(Phase.DONE)}))
    assert (found["done"], found["total"], found["state"]) == (1, 4, "running")


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from([*Phase, None]), min_size=4, max_size=4),
    st.lists(st.sampled_from([*InstanceState, None]), min_size=4, max_size=4),
)
def test_whatever_happens_one_goes_on_serving(
    batch: int, phases: list[Phase | None], states: list[InstanceState | None]
) -> None:
    there = {
        InstanceId(name): instance(name, state)
        for name, state in zip(IDS, states, strict=True)
        if state is not None
    }
    instructions = {
        name: told(phase) for name, phase in zip(IDS, phases, strict=True) if phase is not None
    }
    found = step(instructions, rollout=replace(ROLLOUT, batch=batch), instances=there)
    busy = {each.id for each in found.standings if each.stage is Stage.RESTARTING}
    assert not busy & set(found.ask)
    assert len(busy | set(found.ask)) <= max(batch, len(busy))
    before = {who for who, each in there.items() if each.state is InstanceState.SERVING}
    taken = set(found.ask) & before
    assert not taken or before - taken - busy, "requests have somewhere to go"
