"""Every module imports, and what a service imports stays light."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import moreton

MODULES = [
    module.name
    for module in pkgutil.walk_packages(moreton.__path__, "moreton.")
    if not module.name.endswith(("__main__", "testing.plugin"))
]
PACKAGES = sorted({name.split(".")[1] for name in MODULES})
HEAVY = ("grpc", "google.protobuf", "fastapi", "pydantic", "uvicorn", "typer", "httpx")
WORK = ("grpc", "fastapi", "httpx", "sqlite3", "moreton.consensus", "moreton.controlplane.settings")


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import(package: str) -> None:
    for name in MODULES:
        if name.split(".")[1] == package:
            importlib.import_module(name)


def test_help_loads_nothing_of_what_commands_do() -> None:
    script = f"""
import sys
from moreton.cli.main import application
application([])
print(*[m for m in {WORK!r} if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "name",
    ["moreton", "moreton.kernel", "moreton.store", "moreton.registry", "moreton.election.sync"],
)
def test_what_a_service_imports_is_light(name: str) -> None:
    script = f"import {name}, sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []
