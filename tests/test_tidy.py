"""The house rules that no linter knows: sizes, names, and words that do not belong here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "bench", "examples", "docs")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
LINE_CHARS_MAX = 100
MODULES_MAX = 12
PUBLIC_NAMES_MAX = 15
BAD_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "misc", "v2"})
# A place where the project would speak of where it was made, not of itself.
FOREIGN_WORDS = re.compile(
    # Written so that it does not find itself.
    r"/(?:work|root)/|fa[r]m-(?:bench|studio)|py[p]i\.org|python[h]osted|"
    r"registry\.[n]pmjs|[c]rates\.io",
    re.IGNORECASE,
)

PRAGMA = re.compile(r"  # (?:noqa|type: ignore).*$")

# path -> why it may be larger
EXCEPTIONS: dict[str, str] = {}
FUNCTION_EXCEPTIONS = {
    "src/moreton/cli/limits/serve.py serve": "its parameters are the command's options",
    "src/moreton/cli/migrate/diffs.py diffs": "its parameters are the command's options",
    "src/moreton/cli/run.py run": "its parameters are the command's options, each with its help",
}


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not {"_build", ".moreton", "__pycache__"} & set(path.parts):
                yield path


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_files_are_small() -> None:
    large = {
        relative(path): count
        for path in sources()
        if (count := len(path.read_text().splitlines())) > FILE_LINES_MAX
        and relative(path) not in EXCEPTIONS
    }
    assert not large


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of *function* without its docstring, which for a command is its help."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        total -= first.end_lineno - first.lineno + 1
    return total


@pytest.mark.slow
def test_functions_are_small() -> None:
    large = [
        f"{relative(path)} {node.name}"
        for path in sources()
        if (text := path.read_text()).count("\n") > FUNCTION_LINES_MAX
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and code_lines(node) > FUNCTION_LINES_MAX
    ]
    assert set(large) == set(FUNCTION_EXCEPTIONS)


def test_lines_are_short() -> None:
    long = [
        f"{relative(path)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(PRAGMA.sub("", line)) > LINE_CHARS_MAX
    ]
    assert not long


def test_folders_hold_few_modules() -> None:
    crowded = {
        relative(folder): len(modules)
        for folder in {path.parent for path in sources() if "src" in path.parts}
        if len(modules := [m for m in folder.glob("*.py") if m.name != "__init__.py"]) > MODULES_MAX
    }
    assert not crowded


def test_packages_export_few_names() -> None:
    large = {}
    for path in sources():
        if path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                if len(names) > PUBLIC_NAMES_MAX:
                    large[relative(path)] = len(names)
    assert not large


def test_names_say_what_is_inside() -> None:
    bad = [
        relative(p) for p in sources() if {p.stem, *p.parent.parts[len(ROOT.parts) :]} & BAD_NAMES
    ]
    assert not bad


def test_the_project_speaks_of_itself_alone() -> None:
    texts = [*sources(), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.t[ox][mt]*")]
    texts += [ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob("examples/**/*.md")]
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in texts
        if path.name != "test_tidy.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FOREIGN_WORDS.search(line)
    ]
    assert not found


def test_every_exception_is_still_needed() -> None:
    for name in EXCEPTIONS:
        assert len((ROOT / name).read_text().splitlines()) > FILE_LINES_MAX, name
