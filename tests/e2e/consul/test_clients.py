"""Libraries that were written for Consul, unmodified."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.consul.world import ConsulServer
from moreton.registry.consul import Anonymous
from support.debian import need
from unit.registry.consul.asking import TOKEN

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
# python-consul2 has the import name of py-consul: `make` installs it apart.
APART = Path(sys.prefix) / "apart"


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=[Anonymous.NOTHING, Anonymous.WRITE])
def client(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A Python program that talks to a server with a token, or to one that wants none."""
    with ConsulServer(anonymous=request.param) as one:
        token = TOKEN if request.param is Anonymous.NOTHING else ""
        yield [sys.executable, str(HERE / "python_scenario.py"), str(one.port), token]


def test_py_consul_does_all_that_it_can(client: list[str]) -> None:
    assert run(*client).endswith("fine\n")


def test_python_consul2_does_all_that_it_can(client: list[str]) -> None:
    if not (APART / "consul").is_dir():
        reason = f"{APART} has no python-consul2 (make .venv/.installed): this was NOT tested"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert run(*client, PYTHONPATH=str(APART)).endswith("fine\n")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm package, at the versions of its lock file."""
    folder = tmp_path_factory.mktemp("node")
    for file in (HERE / "node").iterdir():
        shutil.copy(file, folder)
    npm = need("npm", "npm")
    run(npm, "ci", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts")
    return folder


def test_npm_consul_does_all_that_it_can(server: ConsulServer, node_folder: Path) -> None:
    scenario = str(node_folder / "scenario.js")
    assert run(need("node", "nodejs"), scenario, str(server.port), TOKEN).endswith("fine\n")
