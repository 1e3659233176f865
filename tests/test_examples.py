"""Every example runs to its end, and uses nothing but public names."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].joinpath("examples").glob("[0-9]*.py"))
SECONDS_MAX = 60
PAGE = Path(__file__).parents[1] / "docs/how-to/run-sagas.md"
# What a newcomer reads at one look.
LINES_MAX = 40


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_to_its_end(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_imports_public_names_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moreton"):
            public = importlib.import_module(node.module or "").__all__
            assert {name.name for name in node.names} <= set(public)
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("moreton") for name in node.names)


def test_the_order_of_the_docs_is_short_and_tells_its_failure(tmp_path: Path) -> None:
    page = PAGE.read_text()
    found = re.search(r"^```python\n(.*?)^```$.*?^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    order, story = found.groups()
    assert len(order.splitlines()) <= LINES_MAX
    tmp_path.joinpath("order.py").write_text(order)
    run([sys.executable, "-W", "error", "order.py"], tmp_path)
    show = ["saga", "show", "order-700", "--at", "sqlite:///sagas.sqlite"]
    told = run([sys.executable, "-m", "moreton", *show], tmp_path)
    assert lines_without_times(told) == lines_without_times(story)


def run(command: list[str], folder: Path) -> str:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
    ).stdout


def lines_without_times(story: str) -> list[str]:
    """The lines of a saga, sorted: steps that are parallel come in either order."""
    return sorted(re.sub(r"^ *[\d.]+ ms ", "", line).rstrip() for line in story.splitlines())
