"""Where addresses are, by files in the MaxMind format."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moreton.ratelimit.core.rules.seen import NOWHERE, Place
from moreton.ratelimit.core.rules.values import Clients

_REMEMBERED = 10_000
_log = logging.getLogger("moreton.ratelimit")


class Places:
    """Looks addresses up in *files*, each of which knows countries, systems, or both.

    A file that cannot be read knows nothing, and that is logged: rules then take the fallback.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._readers = [reader for file in files if (reader := _open(file)) is not None]
        self.place = functools.lru_cache(_REMEMBERED)(self._place)

    def _place(self, address: str) -> Place:
        country: str | None = None
        asn: int | None = None
        for reader in self._readers:
            found = _look(reader, address)
            if country is None:
                country = _country(found)
            if asn is None:
                number = found.get("autonomous_system_number")
                asn = number if isinstance(number, int) else None
        return Place(country, asn) if (country, asn) != (None, None) else NOWHERE


def files_of(clients: Clients) -> tuple[str, ...]:
    """The files that *clients* are told apart by."""
    keys = clients.tokens.keys if clients.tokens is not None else ""
    return (*clients.geoip, *([keys] if keys else []))


def stamps(files: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """What changes when one of *files* does."""
    return tuple(_stamp(Path(file)) for file in files)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _open(file: str) -> Any:
    try:
        import maxminddb  # noqa: PLC0415 - only those who ask for places have it
    except ImportError:
        _log.warning("%s is not read: install moreton[geoip]", file)
        return None
    try:
        return maxminddb.open_database(file)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        _log.warning("%s cannot be read, so that its places are unknown: %s", file, error)
        return None


def _look(reader: Any, address: str) -> dict[str, Any]:
    try:
        found = reader.get(address)
    except ValueError:  # no address, or of the other family than the file
        return {}
    return found if isinstance(found, dict) else {}


def _country(found: dict[str, Any]) -> str | None:
    told = found.get("country")
    code = told.get("iso_code") if isinstance(told, dict) else None
    return code if isinstance(code, str) else None
