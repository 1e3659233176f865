"""What a statement of SQL changes, as far as its text says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from moreton.strangler.agent.core.effects import EXAMPLE_CHARS_MAX, WHAT_CHARS_MAX
from moreton.strangler.agent.core.functions import only_reckons
from moreton.strangler.agent.core.lists import words

_REMEMBERED_CHARS_MAX = 20_000
# Read for its beginning alone: of what an ORM writes, only values are so long.
_READ_CHARS_MAX = 1_000_000
_STRING = r"[eE]?'(?:[^']|'')*'"
_ESCAPED_STRING = r"[eE]?'(?:[^'\\]|\\.|'')*'"
_REST = r"""
    | (?P<comment>--[^\n]*|/\*.*?\*/|\#[^\n]*(?=\n|\Z))
    | (?P<dollar>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
    | "(?P<quoted>(?:[^"]|"")*)" | `(?P<ticked>[^`]*)` | \[(?P<boxed>[A-Za-z_][^\]]*)\]
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<mark>[().;,=])
"""
_PLAIN = re.compile(f"(?P<string>{_STRING}){_REST}", re.VERBOSE | re.DOTALL)
_ESCAPED = re.compile(f"(?P<string>{_ESCAPED_STRING}){_REST}", re.VERBOSE | re.DOTALL)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.|'')*'|\$(\w*)\$.*?\$\1\$|\b\d[\d.]*\b", re.DOTALL)
_SPACE = re.compile(r"\s+")
_WRITERS = frozenset({"insert", "update", "delete", "replace", "merge", "upsert", "truncate"})
_READERS = words(
    """
    select values table show describe desc explain begin start commit end abort rollback savepoint
    release close fetch move declare use listen unlisten deallocate discard help
    """
)
_ENDS = words("commit end abort begin start prepare lock unlock")
_FILLERS = frozenset({"into", "from", "only", "low_priority", "delayed", "ignore", "quick", "table",
                      "or", "abort", "fail", "rollback", "replace", "if", "not", "exists", "unique",
                      "temporary", "temp", "concurrently", "recursive"})  # fmt: skip
# Statements of SQLite that say how a connection behaves, and change nothing that stays.
_PRAGMAS = words(
    """
    foreign_keys busy_timeout cache_size temp_store synchronous journal_mode mmap_size query_only
    read_uncommitted recursive_triggers case_sensitive_like defer_foreign_keys legacy_alter_table
    automatic_index cell_size_check ignore_check_constraints journal_size_limit locking_mode
    reverse_unordered_selects threads trusted_schema wal_autocheckpoint hard_heap_limit
    soft_heap_limit analysis_limit encoding
    """
)
Token = tuple[str, str]  # its group, and its text; of words, in lower case


def writes_of(sql: str) -> tuple[str, ...]:
    """What *sql* changes or locks: `INSERT order_order`, `LOCK basket_basket`, `CALL f()`.

    Empty for what only reads. What is not known to only read is taken to change something: a
    statement of an unknown sort, a function whose effects nobody knows. Costs its length once.
    """
    if len(sql) <= _REMEMBERED_CHARS_MAX:
        return _remembered(sql)
    return _writes_of(sql)


def ends_of(sql: str) -> str:
    """The word by which *sql* ends a transaction, or begins another one; empty if it does not."""
    variants = [_PLAIN, _ESCAPED] if "\\" in sql else [_PLAIN]
    for pattern in variants:
        for statement in _split(_tokens(sql, pattern)):
            words = [text for _, text in statement]
            is_whole = words[0] == "rollback" and "to" not in words
            if words[0] in _ENDS or is_whole or words[:2] == ["set", "autocommit"]:
                return words[0].upper()
    return ""


def redacted(sql: str) -> str:
    """*sql* without the values that are written in it, in one line, and short."""
    text = _SPACE.sub(" ", _LITERAL.sub("?", sql[: EXAMPLE_CHARS_MAX * 4])).strip()
    return text if len(text) <= EXAMPLE_CHARS_MAX else f"{text[: EXAMPLE_CHARS_MAX - 1]}…"


def _writes_of(sql: str) -> tuple[str, ...]:
    found = dict.fromkeys(_all_writes(_tokens(sql, _PLAIN)))
    if "\\" in sql:  # whether it escapes is the server's to say: taken both ways
        found |= dict.fromkeys(_all_writes(_tokens(sql, _ESCAPED)))
    return tuple(one[:WHAT_CHARS_MAX] for one in found)


_remembered = lru_cache(maxsize=4096)(_writes_of)


def _tokens(sql: str, pattern: re.Pattern[str]) -> list[Token]:
    tokens = []
    for found in pattern.finditer(sql[:_READ_CHARS_MAX]):
        group = found.lastgroup or ""
        if group in {"quoted", "ticked", "boxed"}:
            tokens.append(("name", found[group]))
        elif group == "word":
            tokens.append(("word", found[0].lower()))
        elif group in {"mark", "string", "number"}:
            tokens.append((group, found[0]))
        # The text of a dollar string has a group in it; it is a string as well.
        elif group in {"dollar", "tag"}:
            tokens.append(("string", ""))
    return tokens


def _all_writes(tokens: Sequence[Token]) -> Iterator[str]:
    for statement in _split(tokens):
        yield from _writes(statement)


def _split(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The statements that *tokens* are, each with one token at least."""
    start = 0
    for index, token in enumerate([*tokens, ("mark", ";")]):
        if token == ("mark", ";"):
            statement = tokens[start:index]
            while statement and statement[0] == ("mark", "("):
                statement = statement[1:]
            if statement:
                yield statement
            start = index + 1


def _writes(tokens: Sequence[Token]) -> Iterator[str]:
    verb = tokens[0][1]
    if tokens[0][0] != "word":
        yield "an unreadable statement"
    elif verb in _WRITERS:
        yield f"{verb.upper()} {_table(tokens[1:])}"
        yield from _calls(tokens)
    elif verb in {"with", "select"}:
        yield from _query(tokens)
    elif verb == "explain":
        # EXPLAIN ANALYZE does what it explains.
        inner = next((i for i, t in enumerate(tokens[1:], 1) if t[1] in {"analyze", "analyse"}), 0)
        if inner:
            yield from _query(tokens[inner + 1 :])
    elif verb == "pragma":
        yield from _pragma(tokens)
    elif verb == "set":
        if len(tokens) > 1 and tokens[1][1] in {"global", "persist", "password"}:
            yield f"SET {tokens[1][1].upper()}"
    elif verb == "copy" and ("word", "stdout") in tokens:
        yield from _query(tokens[1:])
    elif verb not in _READERS:
        yield _other(verb, tokens)


def _query(tokens: Sequence[Token]) -> Iterator[str]:
    """A SELECT, or a WITH, in which anything may stand."""
    for index, (group, text) in enumerate(tokens):
        if group != "word":
            continue
        after = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        before = tokens[index - 1][1] if index else ""
        if text in _WRITERS and after != "(" and _begins(before):
            yield f"{text.upper()} {_table(tokens[index + 1 :])}"
        elif text == "for" and after in {"update", "no", "share", "key"}:
            yield f"LOCK {_table_read(tokens[:index])}"
        elif text == "into" and before not in _WRITERS:
            yield f"SELECT INTO {_table(tokens[index + 1 :])}"
    yield from _calls(tokens)


def _begins(before: str) -> bool:
    """Whether a statement may begin after *before*: elsewhere `replace` may be a column."""
    return before in {"", "(", ")", "materialized"}


def _calls(tokens: Sequence[Token]) -> Iterator[str]:
    named = _common_tables(tokens)
    for index, (group, text) in enumerate(tokens[:-1]):
        if tokens[index + 1] != ("mark", "(") or group not in {"word", "name"}:
            continue
        before = tokens[index - 1][1] if index else ""
        name = text.lower()
        if before in {"as", "into"} or name in named or (before == "table" and group == "name"):
            continue
        if before in _WRITERS or (name in _WRITERS and name not in {"replace", "insert"}):
            continue
        if not only_reckons(name):
            yield f"CALL {name}()"


def _common_tables(tokens: Sequence[Token]) -> frozenset[str]:
    """Names with columns in a WITH: `t (a, b) AS (…)`; and aliases: `JOIN (…) t (a, b)`."""
    names = set()
    for index, (group, text) in enumerate(tokens[:-1]):
        if group in {"word", "name"} and tokens[index + 1] == ("mark", "("):
            before = tokens[index - 1][1] if index else ""
            end = _closing(tokens, index + 1)
            after = tokens[end + 1][1] if end + 1 < len(tokens) else ""
            if (before in {"with", "recursive", ","} and after == "as") or before == ")":
                names.add(text.lower())
    return frozenset(names)


def _closing(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for index in range(start, len(tokens)):
        text = tokens[index][1] if tokens[index][0] == "mark" else ""
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return index
    return len(tokens)


def _table(tokens: Sequence[Token]) -> str:
    """The first name that is none of SQL's own words; of a schema's, the last part."""
    for index, (group, text) in enumerate(tokens):
        if group == "name" or (group == "word" and text not in _FILLERS):
            rest = tokens[index + 1 : index + 3]
            qualified = len(rest) == 2 and rest[0] == ("mark", ".")
            return rest[1][1] if qualified else text
        if group == "mark" and text not in {"(", ")"}:
            break
    return "?"


def _table_read(tokens: Sequence[Token]) -> str:
    starts = [index for index, token in enumerate(tokens) if token == ("word", "from")]
    return _table(tokens[starts[0] + 1 :]) if starts else "?"


def _pragma(tokens: Sequence[Token]) -> Iterator[str]:
    name = tokens[1][1] if len(tokens) > 1 else "?"
    if (("mark", "=") in tokens and name not in _PRAGMAS) or name in {
        "optimize",
        "incremental_vacuum",
        "wal_checkpoint",
    }:
        yield f"PRAGMA {name}"


def _other(verb: str, tokens: Sequence[Token]) -> str:
    if verb in {"create", "drop", "alter"} and len(tokens) > 1:
        kind = next((text for _, text in tokens[1:] if text not in _FILLERS - {"table"}), "")
        return f"{verb.upper()} {kind.upper()} {_table(tokens[2:])}"
    return f"{verb.upper()} {_table(tokens[1:])}"
