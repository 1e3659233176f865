"""What of the demonstration's failures its story explains, and how fast it moves."""

from __future__ import annotations

import math

from moreton.cli.demo.chapters import NEW, OLD, Chapter, Span, failures, taken_back_seconds
from moreton.testing.load import Sample

FAULT, KILL = Span(10.0, 20.0), Span(30.0, 32.0)


def sample(sent: float, outcome: str = "200", label: str = OLD) -> Sample:
    return Sample(sent, 0.1, outcome, label, sent)


def test_failures_are_told_apart_by_who_failed_and_when() -> None:
    bad, died, late = sample(11, "500", NEW), sample(31, "reset", ""), sample(33, "503", "")
    others = [sample(12, "500", OLD), sample(5, "500", NEW), late]
    found = failures([bad, died, *others, sample(12), sample(31, "301", NEW)], FAULT, KILL)
    assert found.fault == [bad]
    assert found.killed == [died]
    assert found.others == others


def test_time_to_take_back_is_from_the_first_bad_answer_to_the_last_request_there() -> None:
    samples = [sample(9, "200", NEW), sample(11, "500", NEW), sample(13, "500", NEW), sample(14)]
    found = taken_back_seconds(samples, FAULT)
    assert found is not None
    assert math.isclose(found, 13 - 11.1)
    assert taken_back_seconds(samples[:1], FAULT) is None


def test_a_step_up_is_timed_to_the_first_answer_and_a_way_back_to_the_last_request() -> None:
    up = Chapter("25 %", 10.0, 0.25, 0.1, [sample(9.9), sample(10.2, "200", NEW)])
    assert math.isclose(up.moved_ms or 0, 300)
    back = Chapter("back", 10.0, 0.0, 0.25, [sample(10.05, "200", NEW), sample(11)])
    assert math.isclose(back.moved_ms or 0, 50)
    assert Chapter("back", 10.0, 0.0, 0.25, [sample(9.95, "200", NEW)]).moved_ms == 0
    assert Chapter("killed", 10.0).moved_ms is None


def test_part_of_a_chapter_counts_by_what_was_asked_since_its_decision() -> None:
    chapter = Chapter("100 %", 10.0, 1.0, 0.25, [sample(9.95), sample(10.1, "200", NEW)])
    assert chapter.part == 0.5
    assert chapter.sent_part == 1.0
    assert chapter.report.requests == 2
