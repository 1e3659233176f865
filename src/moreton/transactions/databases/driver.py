"""The library that speaks to PostgreSQL."""

from __future__ import annotations

import importlib

from moreton.transactions.databases.errors import DriverMissing


def need_driver() -> None:
    """Before what uses it is loaded. Raises `DriverMissing` where it is not installed."""
    try:
        importlib.import_module("psycopg")
    except ImportError as missing:
        raise DriverMissing from missing
