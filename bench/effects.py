"""What the agent that sees effects costs an application: CPU a request on pages of a real shop.

Two processes serve the same requests in turns, one with the agent: it can never be taken out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rich.console import Console

from bench.report import Figures, Result, median

_ROOT = Path(__file__).parents[1]
_PAGES = {
    "product": "/catalogue/figs-in-winter_3/",
    "basket": "/basket/",
    "category": "/catalogue/category/gardening_1/",
    "login": "/accounts/login/",
}
_SHARE_MAX = 0.10
_SECONDS_MAX = 120
_WARM_UP = 6


def run(*, quick: bool, console: Console) -> Result:
    """Each request on both sides, in turns; medians of its CPU time, and of the differences."""
    rounds = 60 if quick else 400
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in _PAGES}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        _prepare(Path(folder))
        agent, plain = (stack.enter_context(_shop(Path(folder), one)) for one in ("agent", "plain"))
        for number in range(-_WARM_UP, rounds):
            if number % 20 == 0:
                console.print(f"round {number} of {rounds}", highlight=False)
            for name, path in _PAGES.items():
                if number % 2:
                    pair = agent(path), plain(path)
                else:
                    pair = (plain(path), agent(path))[::-1]
                took[name] += [pair] if number >= 0 else []
    ours = {name: median([one for one, _ in pairs]) for name, pairs in took.items()}
    without = {name: median([other for _, other in pairs]) for name, pairs in took.items()}
    more = {name: median([one - other for one, other in pairs]) for name, pairs in took.items()}
    share = median([more[name] / without[name] for name in _PAGES])
    figures: Figures = {**ours, **{f"{name}, more": value for name, value in more.items()}}
    ratio = {f"plain, {name}": without[name] / (without[name] + more[name]) for name in _PAGES}
    checks = {f"no more than {_SHARE_MAX:.0%} on the median page": share <= _SHARE_MAX}
    note = f"{share:.1%} more on the median page; one process each, one request at a time"
    return Result("effects", "µs of CPU", figures, {"plain": without}, ratio, checks, [note])


class _Ask:
    def __init__(self, to: IO[str], out: IO[str]) -> None:
        self._to, self._out = to, out

    def __call__(self, path: str) -> float:
        self._to.write(f"{path}\n")
        self._to.flush()
        return float(self._out.readline())


@contextlib.contextmanager
def _shop(folder: Path, side: str) -> Iterator[_Ask]:
    command = [sys.executable, "-m", "bench.effects", side]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=_ROOT, env=_environment(folder), stdin=pipe, stdout=pipe, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield _Ask(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait(_SECONDS_MAX)
        process.stdout.close()


def _environment(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "examples" / "oscar")])
    return {**os.environ, "SHOP_STATE": str(folder / "shop"), "PYTHONPATH": paths}


def _prepare(folder: Path) -> None:
    code = "from shop.start import prepare; prepare()"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=_environment(folder),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=_SECONDS_MAX,
    )


def _serve(side: str) -> None:
    """Ask for the path of each line; how long it took, in µs of CPU."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    import django  # noqa: PLC0415 - after the settings are known
    from django.conf import settings  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    if side == "plain":
        settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "moreton" not in one]
    django.setup()
    asking = Client(headers={"x-moreton-effects": "ask"})
    for line in sys.stdin:
        start = time.process_time_ns()
        asking.get(line.strip())
        print((time.process_time_ns() - start) / 1000, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
