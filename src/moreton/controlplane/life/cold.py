"""Serving without a control plane: an Envoy from the last good configuration on disk."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from moreton.config import ConfigRefused
from moreton.controlplane.life.places import envoy_binary, state_of
from moreton.controlplane.settings import load_settings
from moreton.envoy.binary import find_envoy
from moreton.envoy.last_good import start_last_good

_LOG = logging.getLogger("moreton.controlplane")


def run_last_good(path: Path) -> int:
    """Start Envoy from what was last good for *path*, and leave it running; its pid.

    Works with a `moreton.yaml` that is wrong or gone, too: then the usual places count.
    Raises the errors of `start_last_good`, `EnvoyNotFound`.
    """
    try:
        settings = load_settings(path)
    except ConfigRefused as error:
        _LOG.warning("the configuration is refused and not looked at: %s", error)
        home = path if path.is_dir() else path.parent
        starting = start_last_good(home.absolute() / ".moreton" / "envoy", binary=find_envoy(None))
    else:
        starting = start_last_good(
            state_of(settings) / "envoy",
            binary=envoy_binary(settings),
            drain_time=settings.envoy.drain_time,
            concurrency=settings.envoy.concurrency,
        )
    return asyncio.run(starting)
