"""Every Python snippet of the documentation runs, page by page, from top to bottom."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from moreton.sim.contention import STRATEGIES
from moreton.testing import no_backoff

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages whose snippets need more than Python, with what they need.
ELSEWHERE = {
    "docs/tutorial.md": "a control plane and an application",
    "docs/how-to/call-a-service-from-grpc.md": "a control plane",
    "docs/how-to/call-services.md": "a control plane, and a service of the reader's",
    "docs/how-to/register-a-service.md": "a control plane",
    "docs/how-to/run-a-ring.md": "other members",
    "docs/reference/consensus.md": "a running loop, a folder and addresses of the reader's",
    "docs/reference/store.md": "a running loop and a URL of the reader's",
}
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted(ROOT.glob("docs/**/*.md"))
    if FENCE.search(path.read_text())
}


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ELSEWHERE])
def test_snippets_of_a_page_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGES[name].read_text()
    names: dict[str, object] = {"__name__": "snippet"}
    with no_backoff():
        for found in FENCE.finditer(text):
            # So that a traceback shows the line of the page.
            above = text.count("\n", 0, found.start(1))
            code = compile("\n" * above + found[1], name, "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 - it is our own text


def test_every_page_that_is_left_out_still_has_snippets() -> None:
    assert set(ELSEWHERE) <= set(PAGES)
    assert len(PAGES) > len(ELSEWHERE)


def test_the_charts_of_back_off_have_a_line_for_every_kind() -> None:
    spec = importlib.util.spec_from_file_location("charts", ROOT / "docs/charts.py")
    assert spec is not None
    assert spec.loader is not None
    charts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(charts)
    svg = "{http://www.w3.org/2000/svg}"
    drawn = charts.contention_charts()
    assert len(drawn) == 2
    for chart in drawn:
        root = ET.fromstring(chart)  # noqa: S314 - it is our own text
        words = {text.text for text in root.iter(f"{svg}text")}
        assert set(STRATEGIES) <= words
        lines = [line.attrib["points"].split() for line in root.iter(f"{svg}polyline")]
        assert [len(points) for points in lines] == [len(charts.CLIENTS)] * len(STRATEGIES)
        for points in lines:
            for point in points:
                x, y = map(float, point.split(","))
                assert 0 <= x <= charts.WIDTH
                assert 0 <= y <= charts.HEIGHT
