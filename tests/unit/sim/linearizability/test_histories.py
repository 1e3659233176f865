"""Files of histories: what is read from them, and what is said of bad ones."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.sim.linearizability import (
    CasRegister,
    HistoryNotValid,
    HistoryUndecided,
    Recorder,
    Register,
    check_history,
    pair_events,
    read_events,
)
from moreton.sim.linearizability.history import FAULTS_MAX
from unit.sim.linearizability.writing_histories import drawn

INVOKE = {"process": 0, "type": "invoke", "op": "write", "key": "x", "value": 1, "time": 1}
OK = {"process": 0, "type": "ok", "op": "write", "key": "x", "value": None, "time": 2}


def at(seconds: float) -> Instant:
    return Instant(0) + timedelta(seconds=seconds)


def said_of(*lines: str | bytes | dict[str, object]) -> str:
    """What is wrong with a history of *lines*."""
    texts = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    with pytest.raises(HistoryNotValid) as caught:
        check_history(pair_events(read_events(texts)), CasRegister())
    return str(caught.value)


def test_recorded_history_is_read_back_as_it_was() -> None:
    recorder = Recorder()
    recorder.invoke("a", "write", "x", 1, at(0))
    recorder.invoke("b", "read", "x", None, at(0.5))
    recorder.invoke("c", "write", ["not", "a", "key"][0], 3, at(0.5))
    recorder.ok("a", None, at(1))
    recorder.fail("b", at(1))
    recorder.info("c", at(2))
    recorder.invoke("c", "read", "x", None, at(2))
    assert recorder.is_waiting("c")
    assert not recorder.is_waiting("a")
    assert read_events(recorder.text().splitlines()) == recorder.events
    calls = recorder.calls()
    assert [(call.process, call.op, call.began, call.ended) for call in calls] == [
        ("a", "write", 1, 4),  # the read that failed is gone
        ("c", "write", 3, None),
        ("c", "read", 7, None),
    ]


def test_recorder_holds_clients_to_one_operation_at_a_time() -> None:
    recorder = Recorder()
    recorder.invoke(1, "read", "x", None, at(0))
    with pytest.raises(ValueError, match="process 1 has an operation under way"):
        recorder.invoke(1, "read", "x", None, at(0))
    recorder.ok(1, None, at(0))
    with pytest.raises(ValueError, match="process 1 has nothing under way that could be ok"):
        recorder.ok(1, None, at(0))


def test_blank_lines_and_further_fields_do_not_matter() -> None:
    lines = ["", json.dumps({**INVOKE, "node": "n1"}), "  ", json.dumps(OK), ""]
    calls = pair_events(read_events(lines))
    assert [(call.began, call.ended) for call in calls] == [(2, 4)]


def test_lines_may_be_bytes() -> None:
    assert len(read_events([json.dumps(INVOKE).encode()])) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: not JSON, expecting property name"),
        ("[1]", "line 2: not a JSON object but [1]; write one object a line"),
        (b'{"op": "\xff"}', "line 2: not UTF-8"),
        ("[" * 100_000, "line 2: not JSON that can be read: nested too deeply"),
        ({"process": 0}, "line 2: lacks type, op, key, time;"),
        ({**OK, "type": "done"}, 'line 2: type is "done"; write one of invoke, ok, fail, info'),
        ({**OK, "op": 7}, "line 2: op is 7; write a word"),
        ({**OK, "time": "now"}, 'line 2: time is "now"; write a number'),
        ({**OK, "time": True}, "line 2: time is true; write a number"),
        ({**OK, "time": 0}, "line 2: time 0 is before 1, the time of an earlier line"),
        ({**OK, "process": [1]}, "line 2: process is [1]; write a string or a number"),
        ({**OK, "key": {}}, "line 2: key is {}; write a string or a number"),
        ('{"time": NaN}', "line 2: not JSON, nan is no number of json"),
        ({**OK, "process": 1}, "line 2: ok of write by process 1, which has nothing under way"),
        ({**OK, "op": "read"}, 'line 2: ok of read on "x" answers write on "x" of line 1'),
        ({**OK, "key": "y"}, 'line 2: ok of write on "y" answers write on "x" of line 1'),
        ({**INVOKE, "time": 2}, "line 2: process 0 invokes write while its write of line 1 has no"),
    ],
)
def test_bad_line_is_named(line: str | bytes | dict[str, object], says: str) -> None:
    assert says.lower() in said_of(INVOKE, line).lower()


def test_process_names_of_other_types_are_other_processes() -> None:
    assert "has nothing under way" in said_of(INVOKE, {**OK, "process": "0"})


def test_all_bad_lines_are_told_at_once_up_to_a_bound() -> None:
    with pytest.raises(HistoryNotValid) as caught:
        read_events(["x"] * 100)
    assert len(caught.value.faults) == FAULTS_MAX
    assert caught.value.faults[-1].line == FAULTS_MAX


def test_empty_history_is_refused() -> None:
    assert "line 1: the history is empty" in said_of("", " ")


def test_operation_that_the_model_does_not_have_is_named() -> None:
    lines = [json.dumps({**each, "op": "append"}) for each in (INVOKE, OK)]
    with pytest.raises(HistoryNotValid, match="append is no operation of the model register"):
        check_history(pair_events(read_events(lines)), Register())


def test_exchange_without_two_values_is_named() -> None:
    said = said_of({**INVOKE, "op": "cas"}, {**OK, "op": "cas"})
    assert "line 1: a cas of 1; write [expected, new]" in said


def test_search_is_given_up_when_it_grows_too_large() -> None:
    calls = drawn(*["[w1  ]  [w2  ]  [r1  ]" for _ in range(6)])
    with pytest.raises(HistoryUndecided, match=r"10 ways to order the operations on key \"x\""):
        check_history(calls, CasRegister(), configurations_max=10)
