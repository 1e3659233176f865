"""The lines that a control plane logs."""

from __future__ import annotations

import json
import logging
import sys

from moreton.controlplane.life.log import Lines


def record(said: str, *values: object, **extra: object) -> logging.LogRecord:
    try:
        int("no")
    except ValueError:
        info = sys.exc_info() if extra.pop("failed", False) else None
    made = logging.LogRecord("moreton", logging.WARNING, "x.py", 1, said, values, info)
    made.created = 1_795_738_632.25
    vars(made).update(extra)
    return made


def test_line_for_a_program_is_json_with_what_was_said_how_bad_and_when() -> None:
    line = json.loads(Lines(terminal=False).format(record("port %d is taken", 8080, tries=2)))
    assert line == {
        "tries": 2,
        "event": "port 8080 is taken",
        "level": "warning",
        "timestamp": "2026-11-27T00:17:12.250000Z",
    }


def test_traceback_is_a_part_of_the_line_for_a_program() -> None:
    line = Lines(terminal=False).format(record("went wrong", failed=True))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith(": 'no'")


def test_value_that_json_does_not_know_is_written_as_it_reads() -> None:
    assert json.loads(Lines(terminal=False).format(record("x", what={1}.__class__)))["what"]


def test_line_for_a_person_says_more_at_its_end_and_the_traceback_after_it() -> None:
    shown = Lines(terminal=True).format(record("went wrong", failed=True, tries=2)).splitlines()
    assert shown[0].endswith(" warning  went wrong tries=2")
    assert shown[-1].endswith(": 'no'")
