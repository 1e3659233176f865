"""The board adds up what processes tell, for a minute, and forgets it after."""

from __future__ import annotations

from moreton.ratelimit.seeing.core.board import SLOT_SECONDS, SLOTS, Board
from moreton.ratelimit.seeing.core.heavy import Talker
from moreton.ratelimit.seeing.core.report import OTHER, RULES_MAX, Report, RuleReport, Verdict

SECOND = 1_000_000_000
ALLOW = (Verdict.ALLOW, "enforce")
REJECT = (Verdict.REJECT, "enforce")


def report(source: str, *talkers: Talker, rule: str = "visitors", refused: int = 0) -> Report:
    total = sum(one.count for one in talkers)
    decisions = {ALLOW: total - refused, REJECT: refused}
    return Report(source, [RuleReport(rule, decisions, 0, talkers, 0, total)], 2.0)


def test_processes_are_added_up() -> None:
    board = Board()
    board.add(report("a/1", Talker("ada", 30, 0, 10), Talker("grace", 5), refused=10), 100 * SECOND)
    board.add(report("b/1", Talker("ada", 20), Talker("hopper", 7)), 101 * SECOND)
    board.add(report("b/1", Talker("x", 1), rule="logins"), 102 * SECOND)
    first, second = board.standings(103 * SECOND)
    assert first.talkers == [Talker("ada", 50, 0, 10), Talker("hopper", 7), Talker("grace", 5)]
    assert first.decisions == {ALLOW: 52, REJECT: 10}
    assert second.rule == "logins"
    assert [one.rule for one in board.standings(103 * SECOND, rule="logins")] == ["logins"]
    assert board.standings(103 * SECOND, rule="nobody's") == []
    assert board.sources(103 * SECOND) == 2
    # The first report was about the two seconds before.
    assert board.seconds(103 * SECOND) == 5


def test_what_is_older_than_a_minute_is_forgotten_but_in_the_totals() -> None:
    board = Board()
    board.add(report("a/1", Talker("ada", 30)), 0)
    board.add(report("a/1", Talker("grace", 4)), 55 * SECOND)
    assert len(board.standings(59 * SECOND)[0].talkers) == 2
    (standing,) = board.standings(SLOT_SECONDS * SLOTS * SECOND)
    assert standing.talkers == [Talker("grace", 4)]
    assert board.sources(500 * SECOND) == 0
    assert board.standings(500 * SECOND)[0].decisions == {}
    assert {decided: n for _, decided, n in board.totals()}[ALLOW] == 34
    assert 50 <= board.seconds(500 * SECOND) <= 60


def test_more_rules_than_there_is_room_for_are_one() -> None:
    board = Board()
    for number in range(RULES_MAX + 3):
        board.add(report("a/1", Talker("ada", 1), rule=f"rule {number}"), 0)
    found = board.standings(0)
    assert len(found) == RULES_MAX + 1
    assert found[0].rule == OTHER
    assert found[0].talkers == [Talker("ada", 3)]
