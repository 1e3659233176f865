"""A report tells what was written down, in every format, and nothing that was not."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.controlplane.migrations.reports.findings import Findings
from moreton.strangler.reporting import (
    Accepted,
    Found,
    Report,
    as_markdown,
    as_page,
    as_picture,
    report_document,
)
from moreton.strangler.rollout.core.progress import Order
from support.migrated import BEGAN, PLAN, Migrated

pytestmark = pytest.mark.slow

FOUND = Findings(
    (Found("GET /catalogue/<b>", "$.items[*].`a|b`", "value", 41, BEGAN, BEGAN, (1, 2)),),
    (Accepted("$.updated_at", "ignore", "it is | now", "moreton.yaml"),),
)
SVG = "{http://www.w3.org/2000/svg}"


async def told_twice() -> Report:
    """Of a migration that is taken back once, and ends the second time."""
    migrated = Migrated(rate=60.0)
    await migrated.order(Order.START)
    await migrated.watch(400, until="25%")
    assert migrated.stage == "25%"
    migrated.candidate_errors = 0.9
    await migrated.watch(60, until="rolled-back")
    migrated.away(timedelta(hours=2))
    migrated.candidate_errors = 0.002
    await migrated.order(Order.RESUME)
    await migrated.watch(600, until="done")
    assert migrated.phase == "done"
    return await migrated.report(FOUND)


@pytest.fixture(scope="module")
def report() -> Report:
    return asyncio.run(told_twice())


async def test_report_of_a_running_migration_says_so() -> None:
    migrated = Migrated()
    await migrated.order(Order.START)
    await migrated.watch(5)
    found = await migrated.report()
    assert not found.is_over
    for text in (as_markdown(found), as_page(found)):
        assert "Still under way, stage 1 of 6, shadow" in text
        assert "This is a report so far." in text
    assert report_document(found)["over"] is False


async def test_report_of_what_nobody_started_has_nothing_to_tell() -> None:
    found = await Migrated().report()
    assert "Not begun: shop answers all of products." in as_markdown(found)
    assert "No stage has begun." in as_page(found)
    assert as_picture(found) == ""


async def test_stages_keep_the_names_they_had_before_the_plan_was_edited() -> None:
    migrated = Migrated(rate=60.0)
    await migrated.order(Order.START)
    await migrated.watch(400, until="25%")
    await migrated.watch(5)
    await migrated.order(Order.ROLLBACK)
    before = await migrated.report()
    first = PLAN.stages[0]
    migrated.edit(replace(PLAN, stages=(first, replace(first, name="2%"), *PLAN.stages[1:])))
    await migrated.order(Order.START)
    found = await migrated.report()
    assert found.plan == migrated.plan
    assert [each.stage for each in found.visits] == ["shadow", "5%", "25%", "shadow"]
    assert [each.candidate for each in found.visits[:3]] == [v.candidate for v in before.visits]
    assert found.visits[1].candidate.requests > 0
    assert {found.stage_of(each) for each in found.samples} == {"shadow", "5%", "25%"}


def test_each_stage_of_each_try_is_told_with_what_ended_it(report: Report) -> None:
    gone_through = [(each.attempt, each.stage, each.passed) for each in report.visits]
    assert gone_through == [
        *[(1, "shadow", True), (1, "5%", True), (1, "25%", False)],
        *[(2, stage, True) for stage in ("shadow", "5%", "25%", "50%", "100%", "soak")],
    ]
    assert all(each.left is not None for each in report.visits)
    for visit in report.visits:
        assert (visit.compared > 0) == (visit.stage == "shadow")
        assert (visit.candidate.requests > 0) == (visit.stage != "shadow")


def test_proof_of_each_stage_has_samples_and_a_chance_below_what_was_asked(
    report: Report,
) -> None:
    passed = [each for visit in report.visits if visit.passed for each in visit.verdicts]
    assert {each["gate"] for each in passed} == {"errors", "latency", "differences"}
    for each in passed:
        assert each["outcome"] == "pass"
        assert each["proof"]["candidate"] >= 20
        assert 0 <= each["proof"]["chance"] <= 1 - report.plan.confidence + 1e-9


def test_incident_is_told_with_the_evidence_of_the_gate(report: Report) -> None:
    (incident,) = report.incidents
    assert (incident.what, incident.stage, incident.attempt) == ("rolled back", "25%", 1)
    (failed,) = [each for each in incident.verdicts if each["outcome"] == "fail"]
    assert failed["proof"]["chance"] < 0.01
    for text in (as_markdown(report), as_page(report)):
        assert failed["why"] in text
        assert "rolled back" in text


def test_totals_are_those_of_the_samples_and_of_the_stages(report: Report) -> None:
    old, new = report.totals
    assert new.requests == sum(each.candidate.requests for each in report.visits) > 1000
    assert old.requests == sum(each.baseline.requests for each in report.visits) > 1000
    assert f"{new.requests:,}" in as_markdown(report)
    assert report_document(report)["candidate"]["requests"] == new.requests


def test_page_stands_alone(report: Report) -> None:
    page = as_page(report)
    for word in ("<script", "http-equiv", " src=", "url(", "@import", "<link"):
        assert word not in page
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    assert page.replace("http://www.w3.org/2000/svg", "").find("://") == -1


def test_what_others_wrote_cannot_become_markup(report: Report) -> None:
    page, text = as_page(report), as_markdown(report)
    assert "GET /catalogue/&lt;b&gt;" in page
    assert "<b>$" not in page
    assert "it is \\| now" in text
    assert "| `$.items[*].'a\\|b'` |" in text


def test_picture_has_a_panel_for_each_measure_and_a_mark_for_each_incident(
    report: Report,
) -> None:
    drawn = ET.fromstring(as_picture(report))  # noqa: S314 - our own
    titles = [each.text for each in drawn.iter(f"{SVG}text") if each.get("class") == "title"]
    assert titles == [
        "share of requests that catalogue answers",
        "failures",
        "times in ms: thin p50, thick p95, dotted p99",
        "differences",
    ]
    flags = [each for each in drawn.iter(f"{SVG}circle") if each.get("class") == "flag"]
    assert len(flags) == len(report.incidents) == 1
    gaps = [each for each in drawn.iter(f"{SVG}line") if each.get("class") == "gap"]
    assert len(gaps) == 1, "two hours in which nobody looked are drawn as time"


def test_everything_drawn_lies_within_the_picture(report: Report) -> None:
    drawn = ET.fromstring(as_picture(report))  # noqa: S314 - our own
    width, height = map(float, drawn.attrib["viewBox"].split()[2:])
    for line in drawn.iter(f"{SVG}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
