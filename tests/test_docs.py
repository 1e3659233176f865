"""The documentation's configuration examples are real, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
CODE = re.compile(r'^    code(?:: ClassVar\[str\])? = "([a-z0-9-]+)"', re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_links_to_files_that_exist(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_error_code_is_documented() -> None:
    documented = set(re.findall(r"`([a-z][a-z0-9-]+)`", (ROOT / "docs/errors.md").read_text()))
    source = "\n".join(path.read_text() for path in ROOT.glob("src/moreton/**/*.py"))
    used = set(
        re.findall(r'^    code(?:: ClassVar\[str\])? = "([a-z0-9-]+)"', source, re.MULTILINE)
    )
    assert used
    assert used <= documented, f"add to docs/errors.md: {sorted(used - documented)}"
