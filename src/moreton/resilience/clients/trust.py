"""Whom a client believes over TLS, read once for a process: it takes 20 to 50 ms each time."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=2)
def trust_of(library: Any) -> ssl.SSLContext:
    """What *library*, httpx or httpx2, believes by default; the environment may say otherwise."""
    found: ssl.SSLContext = library.create_ssl_context()
    return found
