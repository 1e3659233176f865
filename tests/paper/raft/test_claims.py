"""Each test here stands for a claim, and says where that is made."""

from __future__ import annotations

import ast
import re
from pathlib import Path

# A section or figure of Ongaro's thesis; a rule of etcd's; or one of our own, said to be so.
CITATION = re.compile(r"(?:\d+(?:\.\d+)*\b|Figure \d|etcd\b|Ours:)")
CHAPTERS = {"3", "4", "5", "6", "9", "10"}


def claims() -> dict[str, str]:
    """The docstring of every test of this folder."""
    return {
        f"{path.name} {node.name}": ast.get_docstring(node) or ""
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        if path.name != Path(__file__).name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_claim_names_its_source() -> None:
    """Ours: whoever doubts a test can look it up."""
    assert not [name for name, text in claims().items() if not CITATION.match(text)]


def test_every_chapter_that_makes_claims_is_covered() -> None:
    """Ours: chapters 1, 2, 7, 8 and 11 argue, prove and measure."""
    assert {text.split(".")[0] for text in claims().values()} >= CHAPTERS
