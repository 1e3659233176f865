"""Writes of a request as they are compared: an operation on a table, and the values of columns.

Two applications may say the same in another SQL: other quotes, placeholders, orders of columns.
What is left here is what the database is to hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ROWS_MAX = 50  # of one statement
_TOKEN = re.compile(
    r"""
    (?P<string>[eE]?'(?:[^']|'')*')
    | "(?P<quoted>(?:[^"]|"")*)" | `(?P<ticked>[^`]*)` | \[(?P<boxed>[A-Za-z_][^\]]*)\]
    | (?P<named>%\((?P<percent>\w+)\)s|(?<!:):(?P<colon>[A-Za-z_]\w*))
    | (?P<dollar>\$\d+)
    | (?P<place>%s|\?)
    | ::\s*\w+(?:\s*\(\d+\))?
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<mark>[^\s\w])
    """,
    re.VERBOSE,
)
Token = tuple[str, Any]  # its group, and its text or its value


def rows_of(sql: str, values: object = None) -> list[dict[str, Any]]:
    """What the statement *sql* of one INSERT, UPDATE or DELETE sets, a document a row.

    Columns by name, those of a condition in `where`. A statement that cannot be read is a document
    with its text and its values.
    """
    sets = values if _is_many(values) else [values]
    found: list[dict[str, Any]] = []
    assert isinstance(sets, Sequence)
    for one in sets[:ROWS_MAX]:
        tokens = _bound(sql, one)
        try:
            found += _rows(tokens)
        except (IndexError, ValueError):
            found.append({"statement": _text(tokens)})
    return found[:ROWS_MAX]


def _is_many(values: object) -> bool:
    return (
        isinstance(values, list | tuple)
        and bool(values)
        and all(isinstance(one, list | tuple | Mapping) for one in values)
    )


def _bound(sql: str, values: Any) -> list[Token]:
    """The tokens of *sql*, its placeholders with what is put there."""
    out: list[Token] = []
    turn = iter(values) if isinstance(values, list | tuple) else iter(())
    for found in _TOKEN.finditer(sql):
        group = found.lastgroup or ""
        if group in {"quoted", "ticked", "boxed"}:
            out.append(("word", found[group].lower()))
        elif group == "word":
            out.append(("word", found[0].lower()))
        elif group == "string":
            out.append(("value", found[0].strip("eE")[1:-1].replace("''", "'")))
        elif group == "number":
            out.append(("value", _number(found[0])))
        elif group == "place":
            out.append(("value", next(turn, None)))
        elif group == "dollar":
            place = int(found[0][1:]) - 1
            out.append(("value", values[place] if place < len(values or ()) else None))
        elif found["named"]:
            name = found["percent"] or found["colon"]
            out.append(("value", values.get(name) if isinstance(values, Mapping) else None))
        elif group == "mark":
            out.append(("mark", found[0]))
    return out


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def _rows(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    words = [text for group, text in tokens if group == "word"]
    if "insert" in words[:1] or "replace" in words[:1]:
        return list(_inserted(tokens))
    if words[0] == "update":
        return [_updated(tokens)]
    if words[0] == "delete":
        return [_condition(tokens)]
    raise ValueError(words[0])


def _inserted(tokens: Sequence[Token]) -> Iterator[dict[str, Any]]:
    start = tokens.index(("mark", "("))
    end = _closing(tokens, start)
    columns = [text for group, text in tokens[start:end] if group == "word"]
    index = end + 1
    if tokens[index] != ("word", "values"):
        raise ValueError(tokens[index])
    while index + 1 < len(tokens) and tokens[index + 1] == ("mark", "("):
        index, start = _closing(tokens, index + 1), index + 1
        parts = list(_parts(tokens[start + 1 : index]))
        if len(parts) != len(columns):
            raise ValueError(len(parts))
        yield dict(zip(columns, map(_value, parts), strict=True))
        if index + 1 < len(tokens) and tokens[index + 1] == ("mark", ","):
            index += 1


def _updated(tokens: Sequence[Token]) -> dict[str, Any]:
    start = tokens.index(("word", "set")) + 1
    end = next(
        (i for i in range(start, len(tokens)) if tokens[i] in _STOPS and _depth(tokens, start, i)),
        len(tokens),
    )
    out: dict[str, Any] = {}
    for part in _parts(tokens[start:end]):
        equals = part.index(("mark", "="))
        out[_text(part[:equals])] = _value(part[equals + 1 :])
    return out | _condition(tokens[end:])


_STOPS = frozenset({("word", "where"), ("word", "from"), ("word", "returning")})


def _depth(tokens: Sequence[Token], start: int, index: int) -> bool:
    """Whether *index* is in no parentheses that began since *start*."""
    inner = tokens[start:index]
    return inner.count(("mark", "(")) == inner.count(("mark", ")"))


def _condition(tokens: Sequence[Token]) -> dict[str, Any]:
    if ("word", "where") not in tokens:
        return {}
    start = tokens.index(("word", "where")) + 1
    end = next((i for i in range(start, len(tokens)) if tokens[i][1] == "returning"), len(tokens))
    inner = tokens[start:end]
    while inner and inner[0] == ("mark", "(") and _closing(inner, 0) == len(inner) - 1:
        inner = inner[1:-1]
    return {"where": _text(inner)}


def _parts(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """What stands between commas."""
    part: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token == ("mark", "(")) - (token == ("mark", ")"))
        if token == ("mark", ",") and depth == 0:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _value(tokens: Sequence[Token]) -> Any:
    if len(tokens) == 1 and tokens[0][0] == "value":
        return tokens[0][1]
    if list(tokens) in ([("word", "null")], [("word", "default")]):
        return None
    return _text(tokens)


def _text(tokens: Sequence[Token]) -> str:
    """*tokens* as a text, names of columns without those of their tables."""
    out: list[str] = []
    for index, (group, text) in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if group == "word" and following == ("mark", "."):
            continue
        if (group, text) == ("mark", "."):
            continue
        out.append(repr(text) if group == "value" and isinstance(text, str) else str(text))
    return " ".join(out)


def _closing(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for index in range(start, len(tokens)):
        depth += (tokens[index] == ("mark", "(")) - (tokens[index] == ("mark", ")"))
        if depth == 0:
            return index
    raise ValueError(start)
