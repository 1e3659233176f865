"""The stage of the demonstration: the example's files, the control plane, the new service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from moreton.cli.demo.leftovers import PREFIX, held
from moreton.cli.demo.mishaps import SHORT, plan_stages, put_bug
from moreton.kernel.errors import MoretonError
from moreton.kernel.ports import free_port

_READY_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 15.0
_LOG_BYTES_SHOWN = 1500
_COMMAND_SECONDS_MAX = 30.0
_COLUMNS = 110  # of what commands print
MIGRATION = "catalogue"
_RUN = ("run", "--service", "catalogue", "--port", "0")
_SERVICE = (*_RUN, "--", "python", "-m", "catalogue.service", "{port}")


class DemoNotPossible(MoretonError):
    """The demonstration lacks something it needs, or a part of it did not start."""

    code = "demo-not-possible"


def example_folder() -> Path:
    """Where `examples/oscar` is: beside the package when installed, else in the source tree."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "oscar", here.parents[4] / "examples" / "oscar"):
        if (folder / "moreton.yaml").exists():
            return folder
    raise DemoNotPossible(
        "the example shop is not part of this installation, so there is nothing to show; "
        "run `make demo` in a clone of the repository"
    )


@dataclass(slots=True)
class Stage:
    """A copy of the example in *folder*, with ports of its own, and the programs it runs."""

    folder: Path
    port: int
    api_port: int
    lock: int
    client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    control_plane: asyncio.subprocess.Process | None = None
    service: asyncio.subprocess.Process | None = None

    @classmethod
    def prepare(cls, *, short: bool) -> Stage:
        """Copy the example to a temporary folder and give it free ports."""
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = held(folder)
        ignore = shutil.ignore_patterns(".moreton", "__pycache__")
        shutil.copytree(example_folder(), folder, ignore=ignore, dirs_exist_ok=True)
        put_bug(folder)
        stage = cls(folder, free_port(), free_port(), lock)
        text = (folder / "moreton.yaml").read_text().replace("127.0.0.1:8080", stage.address)
        text += f"\ncontrolplane:\n  api: 127.0.0.1:{stage.api_port}\n"
        (folder / "moreton.yaml").write_text(text)
        if short:
            plan_stages(folder, SHORT)
        return stage

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"127.0.0.1:{self.port}"

    async def prepared(self) -> None:
        """Everything runs: the monolith, the gateway, and the new service with its bug."""
        self.control_plane = await self._start(["up"], "up.log")
        await self._until(self._api_answers, "moreton up", self.control_plane)
        # While the shop makes its database, the service can begin to wait for it.
        self.service = await self._start(_SERVICE, "service.log")
        await self._until(self._shop_answers, "the shop", self.control_plane)
        await self._until(self._service_registered, "the catalogue service", self.service)

    async def start_control_plane(self) -> None:
        """`moreton up`, ready when its API answers, and the shop does still."""
        self.control_plane = await self._start(["up"], "up.log")
        await self._until(self._api_answers, "moreton up", self.control_plane)
        await self._until(self._shop_answers, "the shop", self.control_plane)

    async def start_service(self) -> None:
        """`moreton run` with the new service, ready when its instance is registered."""
        self.service = await self._start(_SERVICE, "service.log")
        await self._until(self._service_registered, "the catalogue service", self.service)

    async def kill_control_plane(self) -> None:
        """SIGKILL: it has no chance to tell anyone."""
        assert self.control_plane is not None
        self.control_plane.send_signal(signal.SIGKILL)
        await self.control_plane.wait()

    async def kill_service(self) -> None:
        """SIGKILL the new service's program itself; its runner notices."""
        assert self.service is not None
        for pid in _children(self.service.pid):
            os.kill(pid, signal.SIGKILL)
        await self.service.wait()

    async def stop_service(self) -> None:
        """SIGTERM the new service: it leaves, then it ends."""
        await _ended(self.service)

    def pages(self, count: int) -> list[str]:
        """The addresses of *count* of the dearer half of the products."""
        file = self.folder / ".moreton" / "shop" / "shop.sqlite"
        found = (
            "select '/catalogue/' || slug || '_' || id || '/' from catalogue_product order by id"
        )
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as shop:
            pages = [str(page) for (page,) in shop.execute(found)]
        return pages[-2 * count :: 2]

    async def page_seconds(self, pages: Sequence[str]) -> float:
        """How long the monolith takes for one of *pages* when nothing else is in its way."""
        seconds = []
        async with httpx.AsyncClient(base_url=f"http://{self.address}", timeout=10) as client:
            for page in [*pages, *pages]:
                begin = time.perf_counter()
                await client.get(page)
                seconds.append(time.perf_counter() - begin)
        quarter, *_ = statistics.quantiles(seconds[len(pages) :], n=4)  # each was asked before
        return quarter

    async def command(self, *arguments: str) -> str:
        """What `moreton` prints with *arguments*, in the example's folder."""
        process = await self._spawn(arguments, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(_COMMAND_SECONDS_MAX):
                told, _ = await process.communicate()
        finally:
            await _ended(process)
        if process.returncode:
            raise DemoNotPossible(
                f"`moreton {' '.join(arguments)}` failed, so the story cannot go on: "
                f"{told.decode(errors='replace')}"
            )
        return told.decode(errors="replace")

    async def get(self, path: str) -> Any:
        """The document at *path* of the API; `None` while nobody answers."""
        try:
            answer = await self.client.get(path)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    async def stop(self) -> None:
        """SIGTERM to both, and wait; then remove the folder."""
        await self.client.aclose()
        await _ended(self.service)
        await _ended(self.control_plane)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)

    async def _start(self, arguments: Sequence[str], log: str) -> asyncio.subprocess.Process:
        with (self.folder / log).open("ab") as output:
            return await self._spawn(arguments, output)

    async def _spawn(self, arguments: Sequence[str], output: Any) -> asyncio.subprocess.Process:
        # `python` in the example's commands is the interpreter that runs this.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        own = {"PATH": path, "SHOP_URL": f"http://{self.address}", "COLUMNS": str(_COLUMNS)}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moreton.cli.main", *arguments),
            cwd=self.folder,
            env={**_environment(), **own},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def _until(self, condition: Any, what: str, process: asyncio.subprocess.Process) -> None:
        for _ in range(int(_READY_SECONDS_MAX / 0.02)):
            if process.returncode is not None:
                break
            with contextlib.suppress(httpx.HTTPError, OSError, json.JSONDecodeError):
                if await condition():
                    return
            await asyncio.sleep(0.02)
        logs = [
            f"{name}:\n{(self.folder / name).read_text(errors='replace')[-_LOG_BYTES_SHOWN:]}"
            for name in ("up.log", "service.log")
            if (self.folder / name).exists()
        ]
        raise DemoNotPossible(
            f"{what} was not ready after {_READY_SECONDS_MAX:.0f} s, so the story cannot go on; "
            "see its last lines:\n" + "\n".join(logs)
        )

    async def _api_answers(self) -> bool:
        token = (self.folder / ".moreton" / "token").read_text().strip()
        await self.client.aclose()
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.api_port}",
            headers={"authorization": f"Bearer {token}"},
            timeout=10,
        )
        return (await self.client.get("/v1/health")).status_code == httpx.codes.OK

    async def _shop_answers(self) -> bool:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{self.address}/catalogue/", timeout=10)
        return answer.status_code == httpx.codes.OK

    async def _service_registered(self) -> bool:
        answer = await self.client.get("/v1/services/catalogue/instances")
        found = answer.json()
        return answer.status_code == httpx.codes.OK and bool(found)


def _environment() -> dict[str, str]:
    """Without what would lead to another control plane, or another shop."""
    others = ("MORETON_", "SHOP_")
    return {name: each for name, each in os.environ.items() if not name.startswith(others)}


async def _ended(process: asyncio.subprocess.Process | None) -> None:
    if process is None or process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _children(pid: int) -> list[int]:
    """The process ids of *pid*'s children, by asking `ps`-like files or pgrep."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if listing.exists():
        return [int(word) for word in listing.read_text().split()]
    import subprocess  # noqa: PLC0415 - only where there is no /proc

    found = subprocess.run(  # noqa: S603 - a fixed command and a number
        ["/usr/bin/pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]
