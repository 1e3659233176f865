"""`moreton ring run` and `moreton ring plot`."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import application
from moreton.cli.ring.chart import terminal_chart
from moreton.cli.ring.drawing import Flying, Size, Spot, draw_ring
from moreton.cli.ring.measuring import CASES, measure
from moreton.election.ring import Algorithm, DuplicateUid

pytestmark = pytest.mark.slow

RUN = ("ring", "run")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), arguments)


def unboxed(result: Result) -> str:
    return " ".join(result.output.replace("│", " ").split())


def test_run_counts_the_messages_of_the_worst_order() -> None:
    found = json.loads(call(*RUN, "--uids", "5,4,3,2,1", "--json").output)
    assert found["leader"] == 5
    assert found["advisory"] is True
    assert found["election"]["messages"] == 20 == found["theory"]["worst"]
    assert found["election"]["rounds"] == 10
    assert found["election"]["halted"] == 5


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_run_draws_the_ring_and_says_that_it_is_advisory(algorithm: Algorithm) -> None:
    result = call(*RUN, "--algorithm", algorithm.value, "--nodes", "5", "--watch")
    assert result.exit_code == Exit.OK
    assert all(f"[{uid}]" in result.output for uid in range(1, 6))
    assert "5 leads" in result.output
    assert "advisory: no store stands behind" in result.output


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_run_elects_again_when_some_are_killed(algorithm: Algorithm) -> None:
    asked = (*RUN, "--algorithm", algorithm.value, "--kill", "2", "--seed", "3", "--json")
    found = json.loads(call(*asked).output)
    assert len(found["killed"]) == 2
    assert found["killed"][0] == 7
    assert found["leader"] == max(set(found["uids"]) - set(found["killed"]))
    assert [decision["leader"] for decision in found["decisions"]] == [7, found["leader"]]
    assert json.loads(call(*asked).output) == found, "the seed decides everything"


def test_run_of_ten_thousand_nodes_is_told_not_drawn() -> None:
    result = call(*RUN, "--nodes", "10000")
    assert result.exit_code == Exit.OK
    assert "a ring of 10000 nodes; the ring is too large to draw" in result.output


def test_run_refuses_uids_that_are_not_unique() -> None:
    result = call(*RUN, "--uids", "3,1,3")
    assert isinstance(result.exception, DuplicateUid)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--uids", "1,x"], "is not a list of whole numbers"),
        (["--nodes", "10001"], "10001 nodes are not possible: 1 to 10,000"),
        (["--nodes", "65", "--processes"], "1 to 64 run as processes"),
        (["--nodes", "1001", "--algorithm", "bully"], "1 to 1,000"),
        (["--nodes", "3", "--kill", "3"], "nobody would be left to lead"),
        (["--store", "memory:"], "a simulated ring decides nothing"),
        (["--initiators", "8"], "8 of 7 nodes cannot begin"),
        (["--initiators", "1", "--kill", "1"], "every member begins"),
    ],
)
def test_run_refuses_what_cannot_be(options: list[str], says: str) -> None:
    result = call(*RUN, *options)
    assert result.exit_code == Exit.USAGE
    assert says in unboxed(result)


def test_run_begins_with_as_many_as_asked() -> None:
    asked = (*RUN, "--algorithm", "chang-roberts", "--nodes", "50", "--initiators", "1", "--json")
    messages = json.loads(call(*asked).output)["election"]["messages"]
    assert 2 * 50 <= messages <= 3 * 50 - 1


def test_plot_draws_measurement_over_theory(tmp_path: Path) -> None:
    drawn = tmp_path / "messages.svg"
    result = call("ring", "plot", "--nodes-max", "32", "--rounds", "3", "--svg", str(drawn))
    assert result.exit_code == Exit.OK
    assert "o LCR, worst; dots: theory" in result.output
    root = ET.fromstring(drawn.read_text())  # noqa: S314 - our own file
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 6 * 5


def test_plot_of_one_algorithm_has_its_curves_alone() -> None:
    asked = ("ring", "plot", "--algorithm", "lcr", "--nodes-max", "16", "--json")
    curves = {each["name"]: each["points"] for each in json.loads(call(*asked).output)["curves"]}
    assert set(curves) == {"LCR, worst", "LCR, average", "LCR, best"}
    assert all(point["measured"] == point["theory"] for point in curves["LCR, worst"])
    assert [point["nodes"] for point in curves["LCR, best"]] == [2, 4, 8, 16]


def test_plot_says_when_its_file_cannot_be_written(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "x.svg")
    result = call("ring", "plot", "--nodes-max", "4", "--svg", missing)
    assert result.exit_code == Exit.USAGE
    assert "cannot be written" in unboxed(result)


def test_drawing_shows_messages_between_their_nodes() -> None:
    spots = [Spot("1", "candidate"), Spot("2", "leader"), Spot("3", "dead"), Spot("4", "asleep")]
    lines = draw_ring(spots, [Flying(0, 1, "9"), Flying(0, 2, "8")]).plain.split("\n")
    top, right, bottom, left = "[1]", "[2]", "[x]", "[4]"
    assert next(n for n, line in enumerate(lines) if top in line) < 3
    assert next(n for n, line in enumerate(lines) if bottom in line) > 15
    middle = next(line for line in lines if left in line)
    assert middle.index(left) < middle.index(right)
    nine = next(line for line in lines if "(9)" in line)
    assert nine.index("(9)") > 40
    assert any("(8)" in line for line in lines)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 20), (37, 16)])
def test_picture_fits_into_the_terminal(columns: int, lines: int) -> None:
    drawn = draw_ring([Spot(str(n), "follower") for n in range(5)], size=Size.of(columns, lines))
    rows = drawn.plain.rstrip("\n").split("\n")
    assert len(rows) < lines
    assert all(len(row) <= columns for row in rows)
    assert all(f"[{n}]" in drawn.plain for n in range(5))


def test_terminal_without_room_for_a_picture_is_told_the_counts() -> None:
    drawn = draw_ring([Spot("1", "leader"), Spot("2", "follower")], size=Size.of(80, 10))
    assert "a ring of 2 nodes; the terminal is too small to draw it" in drawn.plain
    assert "1 leader" in drawn.plain


@pytest.mark.parametrize("width", [60, 80, 200])
def test_plot_fits_into_the_terminal(width: int) -> None:
    case = CASES[0]
    points = [measure(case, nodes, rounds=1) for nodes in (2, 4, 8)]
    rows = terminal_chart({case: points}, width=width).plain.split("\n")
    assert all(len(row) <= width for row in rows)
    assert sum("o" in row for row in rows) >= 2
