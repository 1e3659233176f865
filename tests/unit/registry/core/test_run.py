from __future__ import annotations

from datetime import timedelta
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.time import Instant
from moreton.registry.core.run import (
    DEREGISTRATION_MAX,
    NEVER_READY_STATUS,
    Deregister,
    DeregistrationEnded,
    Exit,
    ExplainNeverReady,
    ExplainNeverServed,
    KillProgram,
    OtherSignalled,
    PortAccepted,
    ProgramEnded,
    Register,
    Run,
    RunEvent,
    RunLimits,
    RunPhase,
    SendSignal,
    StopSignalled,
)

LIMITS = RunLimits(
    ready=timedelta(seconds=60), grace=timedelta(seconds=1), stop=timedelta(seconds=30)
)
START = Instant(0)
TERM, INT = StopSignalled(SIGTERM), StopSignalled(SIGINT)


def after(span: timedelta) -> Instant:
    return START + span


def run_after(*events: RunEvent) -> Run:
    run = Run(LIMITS, START)
    for event in events:
        run.handle(event, START)
    return run


def test_program_is_registered_when_its_port_accepts() -> None:
    run = Run(LIMITS, START)
    assert run.handle(PortAccepted(), START) == (Register(),)
    assert run.deadline() is None
    assert run.handle(PortAccepted(), START) == ()


def test_program_is_stopped_and_explained_when_its_port_never_accepts() -> None:
    run = Run(LIMITS, START)
    assert run.deadline() == after(LIMITS.ready)
    assert run.wake(after(LIMITS.ready)) == (ExplainNeverReady(), SendSignal(SIGTERM))
    assert run.handle(ProgramEnded(0), START) == (Exit(NEVER_READY_STATUS),)


def test_stop_signal_deregisters_waits_and_only_then_stops_the_program() -> None:
    run = run_after(PortAccepted())
    assert run.handle(TERM, START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == ()
    assert run.wake(after(LIMITS.grace / 2)) == ()
    assert run.wake(after(LIMITS.grace)) == (SendSignal(SIGTERM),)
    assert run.handle(ProgramEnded(0), START) == (Exit(0),)
    assert run.phase is RunPhase.ENDED


def test_program_gets_the_signal_that_the_runner_got() -> None:
    run = run_after(PortAccepted(), INT, DeregistrationEnded())
    assert run.wake(after(LIMITS.grace)) == (SendSignal(SIGINT),)


def test_program_is_stopped_when_the_registry_does_not_answer() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.deadline() == after(DEREGISTRATION_MAX)
    assert run.wake(after(DEREGISTRATION_MAX)) == (SendSignal(SIGTERM),)


def test_second_stop_signal_skips_the_waiting() -> None:
    assert run_after(PortAccepted(), TERM).handle(TERM, START) == (SendSignal(SIGTERM),)
    run = run_after(PortAccepted(), TERM, DeregistrationEnded())
    assert run.handle(INT, START) == (SendSignal(SIGINT),)
    assert run.handle(INT, START) == (SendSignal(SIGINT),)


def test_program_is_killed_when_it_does_not_stop_in_time() -> None:
    run = run_after(PortAccepted(), TERM, TERM)
    assert run.wake(after(LIMITS.stop)) == (KillProgram(),)
    assert run.deadline() is None
    run.handle(DeregistrationEnded(), START)
    assert run.handle(ProgramEnded(-SIGKILL), START) == (Exit(128 + SIGKILL),)


def test_program_that_dies_is_deregistered_at_once() -> None:
    run = run_after(PortAccepted())
    assert run.handle(ProgramEnded(-SIGKILL), START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == (Exit(128 + SIGKILL),)


def test_runner_ends_when_the_program_died_and_the_registry_does_not_answer() -> None:
    run = run_after(PortAccepted(), ProgramEnded(3))
    assert run.wake(after(DEREGISTRATION_MAX)) == (Exit(3),)


def test_runner_waits_for_the_deregistration_when_the_program_dies_during_it() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.handle(ProgramEnded(0), START) == ()
    assert run.handle(DeregistrationEnded(), START) == (Exit(0),)


def test_program_that_ends_before_it_accepts_is_never_registered() -> None:
    run = Run(LIMITS, START)
    assert run.handle(ProgramEnded(2), START) == (ExplainNeverServed(2), Exit(2))
    assert run.handle(PortAccepted(), START) == ()


def test_stop_signal_goes_straight_to_a_program_that_is_not_registered() -> None:
    assert Run(LIMITS, START).handle(TERM, START) == (SendSignal(SIGTERM),)


def test_other_signals_go_to_the_program_as_they_are() -> None:
    for run in (Run(LIMITS, START), run_after(PortAccepted()), run_after(PortAccepted(), TERM)):
        assert run.handle(OtherSignalled(SIGHUP), START) == (SendSignal(SIGHUP),)
    assert run_after(ProgramEnded(0)).handle(OtherSignalled(SIGHUP), START) == ()


@pytest.mark.parametrize(("status", "exits"), [(0, 0), (7, 7), (-9, 137), (-15, 143)])
def test_runner_exits_as_the_program_did(status: int, exits: int) -> None:
    assert run_after(PortAccepted(), TERM, TERM, DeregistrationEnded()).handle(
        ProgramEnded(status), START
    ) == (Exit(exits),)


EVENTS = st.sampled_from(
    [PortAccepted(), ProgramEnded(0), TERM, INT, OtherSignalled(SIGHUP), DeregistrationEnded()]
)


@given(st.lists(st.one_of(EVENTS, st.none()), max_size=12))
def test_runner_exits_once_and_only_after_the_program_ended(events: list[RunEvent | None]) -> None:
    run, now = Run(LIMITS, START), START
    has_ended, exits, registered, deregistered = False, 0, 0, 0
    for event in [*events, ProgramEnded(0), None, None]:
        if event == ProgramEnded(0) and has_ended:
            continue
        if event == DeregistrationEnded() and not deregistered:
            continue
        if event is None:
            now = run.deadline() or now
        has_ended |= event == ProgramEnded(0)
        effects = run.wake(now) if event is None else run.handle(event, now)
        assert not (exits and effects), "nothing follows the end"
        exits += sum(isinstance(effect, Exit) for effect in effects)
        registered += effects.count(Register())
        deregistered += effects.count(Deregister())
        assert exits <= has_ended
    assert exits == 1
    assert deregistered == registered <= 1, "what was registered is deregistered, once"
