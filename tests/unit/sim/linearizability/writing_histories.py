"""Histories as pictures: one line a client, time goes to the right."""

from __future__ import annotations

import re
from typing import Any

from moreton.sim.linearizability import Call, check_history
from moreton.sim.linearizability.model import Model

# `w1`, `r1`, `r-` (saw nothing), `c12` (exchanged 1 for 2), `c12!` (found another value).
_WORD = re.compile(r"\[(?P<op>[wrc])(?P<values>[0-9-]*)(?P<miss>!?)(?P<rest>[ =]*)(?P<end>[\]?])")


def drawn(*clients: str, key: Any = "x") -> list[Call]:
    """The calls of a picture such as

        [w1    ]  [w2 ]
           [r1 ]     [r2    ]

    An operation begins at its `[` and ends at its `]`; with `?` instead its outcome is unknown.
    """
    calls = []
    for process, line in enumerate(clients):
        for found in _WORD.finditer(line):
            values = [None if digit == "-" else int(digit) for digit in found["values"]]
            # Two columns for each character: ends and beginnings of one column differ.
            began, ended = 2 * found.start(), 2 * found.end() - 1
            op, argument, result = _operation(found["op"], values, miss=bool(found["miss"]))
            known = found["end"] == "]"
            calls.append(
                Call(
                    process,
                    op,
                    key,
                    argument,
                    result if known else None,
                    began * 10 + process,
                    ended * 10 + process if known else None,
                )
            )
    return sorted(calls, key=lambda call: call.began)


def _operation(letter: str, values: list[Any], *, miss: bool) -> tuple[str, Any, Any]:
    match letter:
        case "w":
            return "write", values[0], None
        case "r":
            return "read", None, values[0] if values else None
        case _:
            return "cas", values, not miss


def is_linearizable(calls: list[Call], model: Model) -> bool:
    return check_history(calls, model).is_linearizable
