"""The shop and its twin as two processes, and what is said to them."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from bench.processes import running
from bench.recall.traffic import Traffic
from moreton.kernel.ports import free_port

_ROOT = Path(__file__).parent.parent.parent
_SECONDS_MAX = 120
_THREADS = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Where both answer."""

    primary: int
    candidate: int
    folder: Path

    def seed(self, name: str = "") -> None:
        """The candidate has the regression *name* from now on, or none."""
        self._tell(self.candidate, "POST", f"seed/{quote(name)}")

    def affected(self) -> set[int]:
        """The numbers of the requests that the regression changed since."""
        return set(json.loads(self._tell(self.candidate, "GET", "affected").content))

    def restock(self) -> None:
        """One more of each book, on both sides."""
        for port in (self.primary, self.candidate):
            self._tell(port, "POST", "restock")

    def traffic(self, places: Sequence[tuple[int, str]]) -> Traffic:
        """Requests of this shop's users to *places*."""
        with sqlite3.connect(self.folder / "primary" / "shop.sqlite") as file:
            rows = file.execute("SELECT slug FROM catalogue_product ORDER BY id").fetchall()
        users = json.loads((self.folder / "users.json").read_text())
        return Traffic([slug for (slug,) in rows], users, places)

    def _tell(self, port: int, method: str, word: str) -> httpx.Response:
        answer = httpx.request(method, f"http://127.0.0.1:{port}/-/{word}", timeout=30)
        return answer.raise_for_status()


@contextlib.contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Both shops, with the same books, users and baskets, in *folder*."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.recall.prepare", str(folder)],
        check=True,
        env=_environment(folder, "primary"),
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        timeout=_SECONDS_MAX,
    )
    made = Pair(free_port(), free_port(), folder)
    with contextlib.ExitStack() as stack:
        for name, port in (("primary", made.primary), ("candidate", made.candidate)):
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "gunicorn",
                f"bench.recall.twin:{name}()",
                "--bind",
                f"127.0.0.1:{port}",
                "--workers",
                "1",
                "--threads",
                str(_THREADS),
                "--keep-alive",
                "75",
                "--log-level",
                "error",
                "--no-control-socket",
            ]
            log = folder / f"{name}.log"
            env = _environment(folder, name)
            stack.enter_context(running(command, log=log, port=port, env=env, cwd=_ROOT))
        yield made


def _environment(folder: Path, name: str) -> dict[str, str]:
    paths = [str(_ROOT), str(_ROOT / "examples" / "oscar"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "SHOP_STATE": str(folder / name),
    }
