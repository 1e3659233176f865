from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty log of sagas of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sagas.sqlite"
    server = request.getfixturevalue("postgres_of_session")
    return str(server.new_database())
