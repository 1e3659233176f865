"""Histories of registers whose verdict a person can see."""

from __future__ import annotations

import pytest

from moreton.sim.linearizability import Call, CasRegister, Register, check_history
from unit.sim.linearizability.writing_histories import drawn, is_linearizable

GOOD = {
    "nothing happened": [],
    "a register begins empty": ["[r-]"],
    "one after the other": ["[w1][r1][w2][r2]"],
    "a read during a write may see it": ["[w1      ]", "  [r1]   "],
    "a read during a write may not see it": ["[w1      ]", "  [r-]   "],
    "one read during a write sees it, a later one too": ["[w1          ]", " [r-] [r1]  "],
    "writes at the same time may come in either order": [
        "[w1    ]      [r1]",
        "[w2    ]          ",
    ],
    "and in the other": ["[w1    ]      [r2]", "[w2    ]          "],
    "reads meanwhile agree with one order": [
        "[w1           ]          ",
        "[w2           ]          ",
        " [r2]   [r1]     [r1]    ",
    ],
    "a write of unknown outcome may have happened": ["[w1?", "      [r1]"],
    "or not": ["[w1?", "      [r-]"],
    "or later": ["[w1?", "      [r-]  [r-]  [r1]"],
    "it may happen long after it was asked": ["[w1?", "     [w2] [r2]  [r1] "],
    "unknown reads say nothing": ["[w1]   [r?", "     [r1]    [r1]"],
    "an exchange of what is there": ["[w1][c12][r2]"],
    "an exchange that finds another value": ["[w1][c32!][r1]"],
    "two exchanges of the same value, one of them fails": ["[w1]  [c12   ]", "      [c13!  ]"],
    "a chain of exchanges at the same time": [
        "[w1]  [c12        ]",
        "      [c23        ]",
        "      [c34        ]   [r4]",
    ],
    "an exchange of unknown outcome that happened": ["[w1] [c12?", "           [r2]"],
    "an exchange of unknown outcome that never did": ["[w1] [c12?", "           [r1]"],
}
BAD = {
    "a read of what nobody wrote": ["[w1][r2]"],
    "an empty register that is not": ["[r1]"],
    "a stale read": ["[w1][w2][r1]"],
    "a read goes back": ["[w1          ]", " [r1] [r-]  "],
    "a read of another client goes back": [
        "[w1               ]",
        " [r1]              ",
        "       [r-]        ",
    ],
    "reads see writes in different orders": [
        "[w1    ]              ",
        "[w2    ]              ",
        "          [r1]  [r2]  ",
    ],
    "a lost write": ["[w1]", "     [w2]", "          [r1]"],
    "a write of unknown outcome is undone": ["[w1?", "      [r1]  [r-]"],
    "one of unknown outcome happens twice": ["[w1?", "      [r1] [w2] [r2] [r1]"],
    "a write of unknown outcome is seen before it began": ["[r1]  [w1?"],
    "an exchange of what is not there": ["[w1][c32]"],
    "an exchange that should have found its value": ["[w1][c12!]"],
    "two exchanges of the same value": ["[w1]  [c12   ]", "      [c13   ]"],
    "an exchange that failed and is seen": ["[w1][c32!][r2]"],
}


@pytest.mark.parametrize("name", GOOD)
def test_history_is_accepted(name: str) -> None:
    assert is_linearizable(drawn(*GOOD[name]), CasRegister())


@pytest.mark.parametrize("name", BAD)
def test_history_is_rejected(name: str) -> None:
    assert not is_linearizable(drawn(*BAD[name]), CasRegister())


def test_plain_register_judges_reads_and_writes_alike() -> None:
    for histories, verdict in ((GOOD, True), (BAD, False)):
        for name, picture in histories.items():
            if not any("[c" in line for line in picture):
                assert is_linearizable(drawn(*picture), Register()) is verdict, name


def test_values_of_other_types_are_other_values() -> None:
    for written, read in ((1, "1"), (1, True), (0, False), (1, 1.0), (None, "null"), ([], {})):
        calls = [Call(0, "write", "x", written, None, 1, 2), Call(0, "read", "x", None, read, 3, 4)]
        assert not is_linearizable(calls, Register()), (written, read)


def test_each_key_is_a_register_of_its_own() -> None:
    good, bad = drawn("[w1][r1]", key="x"), drawn("[w1][r2]", key="y")
    verdict = check_history([*good, *bad], Register())
    assert verdict.parts == 2
    assert [violation.part for violation in verdict.violations] == ['key "y"']


def test_violation_says_what_was_seen_and_what_could_have_been() -> None:
    calls = drawn("[w1][w2  ]      [r1]", "    [w3  ]          ", "          [w4?      ")
    (violation,) = check_history(calls, CasRegister()).violations
    text = str(violation)
    assert text.startswith('key "x" is not linearizable: no order explains the answer on line ')
    assert violation.unplaced.op == "read"
    assert "read, saw 1" in text
    assert "then it holds 3\n  or, in other orders, it holds 2\n" in text
    assert "write 4, outcome unknown" in text


def test_long_violation_is_shortened() -> None:
    picture = "".join("[w1][r1]" for _ in range(40)) + "[r2]"
    text = str(check_history(drawn(picture), Register()))
    assert "70 earlier ones, then" in text
    assert len(text.splitlines()) < 20


def test_verdict_counts() -> None:
    verdict = check_history(drawn("[w1]", "     [w2?", "        [r1]"), Register())
    assert verdict.is_linearizable
    assert str(verdict) == "linearizable"
    assert (verdict.operations, verdict.unknown, verdict.parts) == (3, 1, 1)
    assert verdict.model == "register"
