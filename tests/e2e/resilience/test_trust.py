"""Transports that are told nothing believe over TLS whom their library believes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from e2e.discovery.test_tls import serving_https
from moreton.ratelimit import Gcra, LocalLimiter
from moreton.ratelimit.clients import httpx as paced
from moreton.ratelimit.clients import httpx2 as paced2
from moreton.resilience import Policy, Timeout
from moreton.resilience.clients import httpx as resilient
from moreton.resilience.clients import httpx2 as resilient2
from moreton.resilience.clients.trust import trust_of
from support.certificates import make_certificate

pytestmark = pytest.mark.e2e
TIME = timedelta(seconds=20)
CASES = [
    pytest.param(httpx, resilient, paced, id="httpx"),
    pytest.param(httpx2, resilient2, paced2, id="httpx2"),
]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What other tests had read is not known here, nor what was read here to others."""
    trust_of.cache_clear()
    yield
    trust_of.cache_clear()


@pytest.mark.parametrize(("library", "resilience", "pacing"), CASES)
def test_only_the_known_are_believed(
    library: Any, resilience: Any, pacing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_certificate(tmp_path, "localhost")
    with serving_https(files) as port:

        def ask() -> int:
            inner = pacing.PacedTransport(LocalLimiter(Gcra("9/s", 9)))
            transport = resilience.ResilientTransport(Policy(Timeout(TIME)), inner)
            with library.Client(transport=transport) as client:
                return int(client.get(f"https://localhost:{port}/").status_code)

        with pytest.raises(library.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            ask()
        monkeypatch.setenv("SSL_CERT_FILE", files.certificate)
        trust_of.cache_clear()
        assert ask() == 200


def test_it_is_read_once_for_each_library() -> None:
    assert trust_of(httpx) is trust_of(httpx)
    assert trust_of(httpx) is not trust_of(httpx2)
