"""The sections about limits, read alone: for services, which need none of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from moreton.config import ConfigRefused, Document, Name, load_document, parse
from moreton.ratelimit.config.checks import Defined, check_limits
from moreton.ratelimit.config.clients import ClientsModel, CountersModel
from moreton.ratelimit.config.limits import LimitModel
from moreton.ratelimit.core.rules.values import Limits

DEFAULT_FILE = "moreton.yaml"


class LimitsSections(BaseModel):
    """Only the sections that concern limits; the control plane checks the others."""

    model_config = ConfigDict(extra="ignore", strict=True)
    limits: dict[Name, LimitModel] = {}
    clients: ClientsModel = ClientsModel()
    counters: CountersModel = CountersModel()


def as_limits(
    limits: Mapping[str, LimitModel], clients: ClientsModel, counters: CountersModel, folder: Path
) -> Limits:
    """The core's value; relative files count from *folder*."""
    return Limits(
        {name: model.as_value(name) for name, model in limits.items()},
        clients.as_value(folder),
        counters.as_value(folder),
    )


def load_limits(path: Path | str = DEFAULT_FILE) -> Limits:
    """What *path*, a file or a folder, says of limits; other sections are not looked at.

    Raises `ConfigRefused` with every fault and its place.
    """
    path = Path(path)
    return read_limits(load_document(path), path if path.is_dir() else path.parent)


def read_limits(document: Document, folder: Path) -> Limits:
    """As `load_limits`, of a *document*."""
    model = parse(document, LimitsSections)
    found = as_limits(model.limits, model.clients, model.counters, folder)
    names = {
        kind: frozenset(_names(document.data.get(kind)))
        for kind in ("gateways", "services", "routes")
    }
    faults = check_limits(found, Defined(**names), document.where)
    if faults:
        raise ConfigRefused(faults)
    return found


def _names(section: Any) -> list[str]:
    return list(section) if isinstance(section, dict) else []
