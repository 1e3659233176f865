from __future__ import annotations

import json
from pathlib import Path

import pytest

from moreton.kernel.places import Finder, Place

PEERS = [{"name": "b", "api": "http://10.0.0.2:7400", "certificate": "PEM"}]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing in it, and nothing in the environment."""
    monkeypatch.delenv("MORETON_API", raising=False)
    monkeypatch.delenv("MORETON_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def beside(here: Path, *, runs: bool, peers: object = None) -> None:
    state = here / ".moreton"
    state.mkdir()
    (state / "token").write_text("of the folder\n")
    if runs:
        (state / "controlplane.json").write_text(json.dumps({"api": "http://127.0.0.1:7400"}))
    if peers is not None:
        (state / "cluster.json").write_text(json.dumps({"id": "x", "peers": peers}))


def find(api: str | None = None, token: str | None = None) -> tuple[Place, ...]:
    return Finder(api=api, token=token).find()


def test_nothing_says_where_the_control_plane_is() -> None:
    assert find() == ()


def test_several_addresses_are_places_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORETON_API", " http://a:1/ ,b:2,, https://c:3")
    monkeypatch.setenv("MORETON_TOKEN", "secret")
    assert [each.url for each in find()] == ["http://a:1", "http://b:2", "https://c:3"]
    assert {each.token for each in find()} == {"secret"}


def test_other_nodes_are_known_beside_the_configuration_and_when_this_one_is_gone(
    here: Path,
) -> None:
    beside(here, runs=True, peers=PEERS)
    other = Place("http://10.0.0.2:7400", "of the folder", "PEM")
    assert find() == (Place("http://127.0.0.1:7400", "of the folder"), other)
    (here / ".moreton" / "controlplane.json").unlink()
    assert find() == (other,)


def test_token_is_shown_only_to_the_cluster_that_it_came_from(here: Path) -> None:
    beside(here, runs=True, peers=PEERS)
    found = find(api="http://10.0.0.2:7400,http://elsewhere:1")
    assert found == (
        Place("http://10.0.0.2:7400", "of the folder", "PEM"),
        Place("http://elsewhere:1", ""),
    )


@pytest.mark.parametrize("peers", [3, [3], [{}], {"name": "b"}])
def test_what_cannot_be_read_of_other_nodes_counts_for_nothing(here: Path, peers: object) -> None:
    beside(here, runs=True, peers=peers)
    assert [each.url for each in find()] == ["http://127.0.0.1:7400"]
