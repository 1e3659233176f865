"""Where commands about limits ask: the running control plane, or the file when none runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moreton.cli.client import Api
from moreton.controlplane.errors import NotRunning

if TYPE_CHECKING:
    from moreton.controlplane.settings import Settings


def running(config: Path, *, offline: bool = False) -> Api | None:
    """The API of the control plane that runs; `None` when there is none, or it is not wanted."""
    if offline:
        return None
    try:
        return Api.find(config, waits=False)
    except NotRunning:
        return None


def settings_of(config: Path) -> Settings:
    """What is in the file; raises `ConfigRefused`."""
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - pydantic

    return load_settings(config)
