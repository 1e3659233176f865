"""Names of places in an answer, and patterns of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX = re.compile(r"\[\d+\]")
_PATTERN_CHARS_MAX = 500
# Paths are remembered, and bodies make them up.
PATH_CHARS_MAX = 1000
_NAME_CHARS_MAX = 200
_MEMBER = r"(?:\.[A-Za-z_][A-Za-z0-9_-]*|\['(?:[^'\\]|\\.)*'\])"
_VALUE_STEP = re.compile(
    r"""(?P<deep>\.\.(?:[A-Za-z_][A-Za-z0-9_-]*|\*))
      | (?P<name>\.(?:[A-Za-z_][A-Za-z0-9_-]*|\*))
      | (?P<quoted>\['(?:[^'\\]|\\.)*'\])
      | (?P<index>\[(?:\d+|\*)\])""",
    re.VERBOSE,
)
_VALUE_ROOT = re.compile(r"\$|form|line|body")
_MARKUP_STEP = re.compile(
    r"""(?P<axis>//?)
        (?P<step>text\(\)(?:\[\d+\])?
          | @(?:[\w:.-]+|\*)
          | (?P<name>[\w:.-]+|\*)(?P<predicate>\[(?:\d+|@[\w-]+='[\w:.-]+')\])?)""",
    re.VERBOSE,
)


def member(name: str) -> str:
    """The step to the member *name* of an object: `.name`, or `['odd name']`; a long one is cut."""
    return _member(name if len(name) <= _NAME_CHARS_MAX else f"{name[: _NAME_CHARS_MAX - 1]}…")


@lru_cache(maxsize=4096)
def _member(name: str) -> str:
    if _NAME.fullmatch(name):
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def render(trail: Sequence[str | int]) -> str:
    """The path of a value in JSON: *trail* is its root, then names and indexes."""
    steps = [f"[{step}]" if isinstance(step, int) else member(step) for step in trail[1:]]
    return f"{trail[0]}{''.join(steps)}"


@lru_cache(maxsize=4096)
def general(path: str) -> str:
    """*path* for all items at once: `$.items[3].price` is one of `$.items[*].price`.

    An element of markup loses its number: `//li[3]/a` becomes `//li/a`.
    """
    return _INDEX.sub("" if path.startswith("/") else "[*]", path)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """What matches the paths that *pattern* means, and all that lie below them.

    `.*` is any name, `[*]` any index, `..name` and `//name` are at any depth; an element without a
    number is any of its kind; `header:x-*` and `cookie:*` are names that begin so.

    Raises `ValueError` for what is no pattern.
    """
    if len(pattern) > _PATTERN_CHARS_MAX:
        raise ValueError(f"a path of {len(pattern)} characters; at most {_PATTERN_CHARS_MAX}")
    if pattern == "status":
        return re.compile(r"status\Z")
    if pattern.startswith(("header:", "cookie:")) and len(pattern) > len("header:"):
        name = re.escape(pattern.lower() if pattern[0] == "h" else pattern)
        return re.compile(name.replace(r"\*", "[^;]*") + r"(?:;.*)?\Z", re.DOTALL)
    steps = _markup_steps(pattern) if pattern.startswith("/") else _value_steps(pattern)
    if steps is None:
        raise ValueError(
            f"{pattern!r} is not a path; write one like $.items[*].price, //h1/text(), status, "
            "header:location or cookie:sessionid"
        )
    return re.compile(steps, re.DOTALL)


def _value_steps(pattern: str) -> str | None:
    root = _VALUE_ROOT.match(pattern)
    if root is None:
        return None
    parts, at = [re.escape(root[0])], root.end()
    while at < len(pattern):
        step = _VALUE_STEP.match(pattern, at)
        if step is None:
            return None
        parts.append(_value_step(step))
        at = step.end()
    return "".join(parts) + r"(?=[.\[]|\Z)"


def _value_step(step: re.Match[str]) -> str:
    text = step[0]
    match step.lastgroup:
        case "deep":
            return ".*" + (_MEMBER if text == "..*" else re.escape(text[1:]))
        case "name":
            return _MEMBER if text == ".*" else re.escape(text)
        case "index":
            return r"\[\d+\]" if text == "[*]" else re.escape(text)
        case _:
            return re.escape(text)


def _markup_steps(pattern: str) -> str | None:
    parts, at = [], 0
    while at < len(pattern):
        step = _MARKUP_STEP.match(pattern, at)
        if step is None:
            return None
        parts.append("/" if step["axis"] == "/" else "/(?:.*/)?")
        parts.append(_markup_step(step))
        at = step.end()
    return "".join(parts) + r"(?=/|\Z)"


def _markup_step(step: re.Match[str]) -> str:
    text = step["step"]
    if text == "text()":
        return r"text\(\)(?:\[\d+\])?"
    if text == "@*":
        return "@[^/]+"
    if text.startswith(("@", "text()")):
        return re.escape(text)
    name = r"[^/@\[]+" if step["name"] == "*" else re.escape(step["name"])
    predicate = step["predicate"]
    return name + (r"(?:\[[^/]*\])?" if predicate is None else re.escape(predicate))
