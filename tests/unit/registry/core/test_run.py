from __future__ import annotations

from datetime import timedelta
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.time import Instant
from moreton.registry.core.instructions import Phase
from moreton.registry.core.run import (
    DEREGISTRATION_MAX,
    DRAIN_ANSWER_MAX,
    NEVER_READY_STATUS,
    Deregister,
    DeregistrationEnded,
    Drain,
    DrainEnded,
    Exit,
    ExplainEnded,
    ExplainNeverReady,
    ExplainNeverServed,
    KillProgram,
    OtherSignalled,
    PortAccepted,
    ProgramEnded,
    Register,
    Report,
    RestartAsked,
    Run,
    RunEvent,
    RunLimits,
    RunPhase,
    SendSignal,
    StartProgram,
    StopSignalled,
)

LIMITS = RunLimits(
    ready=timedelta(seconds=60), grace=timedelta(seconds=1), stop=timedelta(seconds=30)
)
START = Instant(0)
TERM, INT = StopSignalled(SIGTERM), StopSignalled(SIGINT)
KNOWN, UNKNOWN = DrainEnded(known=True), DrainEnded(known=False)
AGAIN = RestartAsked("x.1")


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


def test_stop_signal_drains_and_deregisters_and_only_then_stops_the_program() -> None:
    run = run_after(PortAccepted())
    assert run.handle(TERM, START) == (Drain(),)
    assert run.handle(KNOWN, START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == (SendSignal(SIGTERM),)
    assert run.handle(ProgramEnded(0), START) == (Exit(0),)
    assert run.phase is RunPhase.ENDED


def test_program_serves_for_the_grace_when_nobody_knows_what_the_proxies_know() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.handle(UNKNOWN, START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == ()
    assert run.wake(after(LIMITS.grace / 2)) == ()
    assert run.wake(after(LIMITS.grace)) == (SendSignal(SIGTERM),)
    assert run.handle(ProgramEnded(0), START) == (Exit(0),)
    assert run.phase is RunPhase.ENDED


def test_program_gets_the_signal_that_the_runner_got() -> None:
    run = run_after(PortAccepted(), INT, UNKNOWN, DeregistrationEnded())
    assert run.wake(after(LIMITS.grace)) == (SendSignal(SIGINT),)


def test_program_is_stopped_when_the_registry_does_not_answer() -> None:
    run = run_after(PortAccepted(), TERM, KNOWN)
    assert run.deadline() == after(DEREGISTRATION_MAX)
    assert run.wake(after(DEREGISTRATION_MAX)) == (SendSignal(SIGTERM),)


def test_second_stop_signal_skips_the_waiting() -> None:
    told = run_after(PortAccepted(), TERM).handle(TERM, START)
    assert told == (Deregister(), SendSignal(SIGTERM))
    run = run_after(PortAccepted(), TERM, UNKNOWN, DeregistrationEnded())
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
    assert run.handle(ProgramEnded(-SIGKILL), START) == (ExplainEnded(128 + SIGKILL), Deregister())
    assert run.handle(DeregistrationEnded(), START) == (Exit(128 + SIGKILL),)


def test_runner_ends_when_the_program_died_and_the_registry_does_not_answer() -> None:
    run = run_after(PortAccepted(), ProgramEnded(3))
    assert run.wake(after(DEREGISTRATION_MAX)) == (Exit(3),)


def test_runner_waits_for_the_deregistration_when_the_program_dies_during_it() -> None:
    run = run_after(PortAccepted(), TERM, KNOWN)
    assert run.handle(ProgramEnded(0), START) == ()
    assert run.handle(DeregistrationEnded(), START) == (Exit(0),)


def test_drain_that_nobody_answers_ends_after_its_limit() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.deadline() == after(LIMITS.drain + DRAIN_ANSWER_MAX)
    assert run.wake(after(LIMITS.drain + DRAIN_ANSWER_MAX)) == (Deregister(),)
    assert run.handle(KNOWN, START) == (), "too late to change anything"


def test_program_that_ends_while_it_drains_is_deregistered() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.handle(ProgramEnded(0), START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == (Exit(0),)


def test_restart_drains_stops_and_starts_without_deregistering() -> None:
    run = run_after(PortAccepted())
    assert run.handle(AGAIN, START) == (Report("x.1", Phase.DRAINING), Drain())
    told = (Report("x.1", Phase.STOPPING), SendSignal(SIGTERM))
    assert run.handle(KNOWN, START) == told
    assert run.handle(ProgramEnded(-SIGTERM), START) == (
        StartProgram(),
        Report("x.1", Phase.STARTING),
    )
    assert run.deadline() == after(LIMITS.ready)
    assert run.handle(PortAccepted(), START) == (Register(), Report("x.1", Phase.DONE))
    assert run.phase is RunPhase.SERVING
    assert run.deadline() is None


def test_restart_gives_the_grace_when_nobody_knows_what_the_proxies_know() -> None:
    run = run_after(PortAccepted(), AGAIN)
    assert run.handle(UNKNOWN, START) == ()
    told = (Report("x.1", Phase.STOPPING), SendSignal(SIGTERM))
    assert run.wake(after(LIMITS.grace)) == told


def test_restart_that_does_not_come_up_is_told_and_leaves_the_registry() -> None:
    run = run_after(PortAccepted(), AGAIN, KNOWN, ProgramEnded(0))
    why = "the program ended with status 7 before its port opened"
    assert run.handle(ProgramEnded(7), START) == (
        Report("x.1", Phase.FAILED, why),
        ExplainNeverServed(7),
        Deregister(),
    )
    assert run.handle(DeregistrationEnded(), START) == (Exit(7),)


def test_restart_whose_port_never_opens_is_told_and_leaves_the_registry() -> None:
    run = run_after(PortAccepted(), AGAIN, KNOWN, ProgramEnded(0))
    assert run.wake(after(LIMITS.ready)) == (
        Report("x.1", Phase.FAILED, "its port did not open in time"),
        ExplainNeverReady(),
        SendSignal(SIGTERM),
    )
    assert run.handle(ProgramEnded(0), START) == (Deregister(),)
    assert run.handle(DeregistrationEnded(), START) == (Exit(NEVER_READY_STATUS),)


@pytest.mark.parametrize("before", [(), (KNOWN,), (KNOWN, ProgramEnded(0)), (UNKNOWN,)])
def test_stop_signal_turns_a_restart_into_an_end(before: tuple[RunEvent, ...]) -> None:
    run = run_after(PortAccepted(), AGAIN, *before)
    told = Report("x.1", Phase.FAILED, "the program was stopped meanwhile")
    assert told in run.handle(TERM, START)
    effects = [*run.handle(KNOWN, START), *run.handle(ProgramEnded(0), START)]
    assert Deregister() in effects
    assert StartProgram() not in effects
    assert run.handle(DeregistrationEnded(), START) == (Exit(0),)


def test_restart_is_refused_by_a_program_that_is_stopping() -> None:
    run = run_after(PortAccepted(), TERM)
    assert run.handle(AGAIN, START) == (Report("x.1", Phase.FAILED, "it is stopping"),)


def test_restart_of_a_program_that_is_just_starting_is_done_when_it_serves() -> None:
    run = Run(LIMITS, START)
    assert run.handle(AGAIN, START) == ()
    assert run.handle(PortAccepted(), START) == (Register(), Report("x.1", Phase.DONE))


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
    [
        PortAccepted(),
        ProgramEnded(0),
        TERM,
        INT,
        OtherSignalled(SIGHUP),
        DeregistrationEnded(),
        KNOWN,
        UNKNOWN,
        AGAIN,
        RestartAsked("x.2"),
    ]
)


@pytest.mark.slow
@given(st.lists(st.one_of(EVENTS, st.none()), max_size=16))
def test_runner_exits_once_and_only_after_the_program_ended(events: list[RunEvent | None]) -> None:
    run, now = Run(LIMITS, START), START
    runs, exits, is_registered, deregistered = True, 0, False, 0
    reports: list[Report] = []
    for event in [*events, TERM, TERM, ProgramEnded(0), None, None]:
        if event == ProgramEnded(0) and not runs:
            continue
        if event == DeregistrationEnded() and not deregistered:
            continue
        if event is None:
            now = run.deadline() or now
        runs = runs and event != ProgramEnded(0)
        effects = run.wake(now) if event is None else run.handle(event, now)
        assert not (exits and [x for x in effects if not isinstance(x, Report)]), "it was the end"
        runs = runs or StartProgram() in effects
        exits += sum(isinstance(effect, Exit) for effect in effects)
        is_registered |= Register() in effects
        deregistered += effects.count(Deregister())
        reports += [effect for effect in effects if isinstance(effect, Report)]
        assert not (exits and runs)
    assert exits == 1
    assert deregistered == is_registered, "what was registered is deregistered, once"
    over = [x.name for x in reports if x.phase in {Phase.DONE, Phase.FAILED}]
    assert {x.name for x in reports} <= set(over), "every restart is told the end of"
