"""Scripts as tests: text files of commands and what they print.

A file holds cases separated by blank lines. A case is a command line, optional input lines, a line
`----`, and the expected output up to a blank line; when the output itself has blank lines it is
closed by a second `----` (the separator is then doubled at its start too):

    # a comment
    publish clusters=(a,b) version=1
    optional input
    ----
    sends a, b

A command line is a word, then positional words and `key=value`; a value in parentheses is a list.
`run_script` calls a handler for each case, compares, and with *rewrite* writes what came instead.
Format: cockroachdb/datadriven, as etcd's raft uses it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_SEPARATOR = "----"
_WORD = re.compile(r"(?P<key>[A-Za-z_][\w.-]*)=(?P<value>\([^)]*\)|\S*)|(?P<word>\S+)")


class ScriptMismatch(AssertionError):
    """A case printed something else than its file expects."""


@dataclass(frozen=True, slots=True)
class Command:
    """One case of a script, as its handler sees it."""

    name: str
    words: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    input: str = ""
    line: int = 0  # where it begins, counted from 1

    def items(self, key: str) -> list[str]:
        """The list given as `key=(a,b)` or `key=a`; empty when it is not given."""
        value = self.options.get(key, "").removeprefix("(").removesuffix(")")
        return [item.strip() for item in value.split(",") if item.strip()]

    def number(self, key: str, default: int | None = None) -> int:
        """The integer given as *key*; raises `KeyError` when there is neither it nor *default*."""
        if default is not None and key not in self.options:
            return default
        return int(self.options[key])


@dataclass(slots=True)
class _Case:
    head: list[str]  # comments and blank lines before, the command line, input
    command: Command
    expected: str


Handler = Callable[[Command], str]


def run_script(path: Path, handle: Handler, *, rewrite: bool = False) -> int:
    """Run every case of *path* through *handle*; how many there were.

    Raises `ScriptMismatch` with a diff of the first case that differs, or, with *rewrite*, writes
    what *handle* returned into *path*.
    """
    text = path.read_text()
    cases, tail = _parse(text, path)
    out: list[str] = []
    for case in cases:
        printed = handle(case.command).rstrip("\n")
        if printed != case.expected and not rewrite:
            raise ScriptMismatch(_difference(path, case, printed))
        out += case.head
        out += _framed(printed)
    if rewrite:
        changed = "\n".join([*out, *tail]).rstrip("\n") + "\n"
        if changed != text:
            path.write_text(changed)
    return len(cases)


def read_script(path: Path) -> list[tuple[Command, str]]:
    """Every case of *path* with what it expects, for who wants to judge by another rule."""
    return [(case.command, case.expected) for case in _parse(path.read_text(), path)[0]]


def parse_command(line: str, input_text: str = "", number: int = 0) -> Command:
    """The command of *line*."""
    words: list[str] = []
    options: dict[str, str] = {}
    for found in _WORD.finditer(line):
        if found["word"] is not None:
            words.append(found["word"])
        else:
            options[found["key"]] = found["value"]
    if not words:
        raise ValueError(f"line {number}: {line!r} has no command; begin it with a word")
    return Command(words[0], tuple(words[1:]), options, input_text, number)


def _parse(text: str, path: Path) -> tuple[list[_Case], list[str]]:
    lines = text.split("\n")
    cases: list[_Case] = []
    index = 0
    head: list[str] = []
    while index < len(lines):
        line = lines[index]
        head.append(line)
        index += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = index
        while index < len(lines) and lines[index] != _SEPARATOR:
            head.append(lines[index])
            index += 1
        if index == len(lines):
            raise ValueError(f"{path}:{start}: the case has no line {_SEPARATOR}; add it")
        command = parse_command(line, "\n".join(head[len(head) - (index - start) :]), start)
        expected, index = _expected(lines, index + 1)
        cases.append(_Case(head, command, expected))
        head = []
    return cases, head


def _expected(lines: list[str], index: int) -> tuple[str, int]:
    if index < len(lines) and lines[index] == _SEPARATOR:  # doubled: blank lines inside
        start = index + 1
        end = start
        while end < len(lines) and lines[end] != _SEPARATOR:
            end += 1
        skip = 2 if end + 1 < len(lines) and lines[end + 1] == _SEPARATOR else 1
        return "\n".join(lines[start:end]), end + skip
    start = index
    while index < len(lines) and lines[index].strip():
        index += 1
    return "\n".join(lines[start:index]), index


def _framed(printed: str) -> Iterator[str]:
    yield _SEPARATOR
    blank = any(not line.strip() for line in printed.split("\n")) and printed != ""
    if blank:
        yield _SEPARATOR
    if printed:
        yield from printed.split("\n")
    if blank:
        yield _SEPARATOR
        yield _SEPARATOR


def _difference(path: Path, case: _Case, printed: str) -> str:
    diff = difflib.unified_diff(
        case.expected.split("\n"), printed.split("\n"), "expected", "printed", lineterm=""
    )
    command = case.command
    return f"{path}:{command.line}: {command.name}\n" + "\n".join(diff)
