"""Three `moreton up` over one store, each with its own folder, ports and Envoy."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from e2e.up.world import Backend, World
from moreton.cli.client import Api, ApiRefused, ApiUnreachable
from moreton.controlplane.errors import NotRunning
from support.etcd_server import EtcdServer
from support.waits import wait_until

NAMES = ("a", "b", "c")
# Three at once want six times the processor time of one on a machine of two cores.
_START_SECONDS_MAX = 120.0


@dataclass(slots=True)
class Nodes:
    """The nodes by name; *stores* has each one's URL of the store that they share."""

    worlds: dict[str, World]
    stores: Mapping[str, str]

    def write(self, **sections: Any) -> None:
        """Give every node its moreton.yaml."""
        for name in self.worlds:
            self.write_one(name, **sections)

    def write_one(self, name: str, **sections: Any) -> None:
        """Give one node its moreton.yaml, with *sections* on top."""
        world = self.worlds[name]
        api = f"127.0.0.1:{world.api_port}"
        controlplane = {"api": api, "node": name, "store": self.stores[name]}
        world.write(world.configuration(**{"controlplane": controlplane, **sections}))

    def start(self) -> None:
        """All that do not run, at once; each ready, and known to all."""
        for world in self.worlds.values():
            if world.child is None or world.child.poll() is not None:
                world.spawn()
        for world in self.worlds.values():
            world.wait_ready(_START_SECONDS_MAX)
        for name in self.worlds:
            wait_until(partial(self.knows_all, name), f"{name} knows all and a leader")

    def begin_again(self) -> None:
        """All run, and nothing is in force but what moreton.yaml says."""
        self.start()
        api = self.api(NAMES[0])
        for kind in ("routes", "services"):
            for each in api.get(f"/v1/{kind}"):
                if each["source"]["origin"] == "api":
                    api.call("DELETE", f"/v1/{kind}/{each['name']}")
        api.call("PUT", "/v1/routes/everything/weights", {"a": 1, "b": 0})
        for name, world in self.worlds.items():
            wait_until(partial(_serves_a, world), f"{name} is as it was at first")

    def known_to(self, name: str) -> set[str]:
        """The nodes that *name* takes for living."""
        return {each["name"] for each in self.document(name)["nodes"]}

    def knows_all(self, name: str) -> bool:
        """Whether the node *name* knows all others and who leads."""
        return self.known_to(name) == set(NAMES) and self.leader(name) is not None

    def document(self, name: str) -> dict[str, Any]:
        """What the node *name* says of nodes."""
        found = self.api(name).get("/v1/status")["node"]
        assert isinstance(found, dict)
        assert found["name"] == name
        return found

    def leader(self, name: str) -> str | None:
        """Who leads, as far as the node *name* knows, when that node's API answers."""
        found = self.document(name)["leader"]
        return None if found is None else str(found)

    def api(self, name: str) -> Api:
        """A client of this node alone."""
        return only(self.worlds[name])

    def survivors(self, dead: str) -> list[str]:
        """All but *dead*."""
        return [name for name in self.worlds if name != dead]

    def log(self) -> str:
        """What all of them printed."""
        return "\n".join(f"--- {name}\n{world.log()}" for name, world in self.worlds.items())

    def end(self) -> None:
        """Leave nothing running."""
        backends: Mapping[str, Backend] = {}
        for world in self.worlds.values():
            backends, world.backends = world.backends, {}
            with contextlib.suppress(subprocess.TimeoutExpired):
                world.end()
        for backend in backends.values():
            backend.stop()


@dataclass(frozen=True, slots=True)
class Living:
    """Three nodes that run, and their store."""

    nodes: Nodes
    etcd: EtcdServer


def _serves_a(world: World) -> bool:
    return world.ask() == (200, "a")


def only(world: World) -> Api:
    """A client of the API of *world* alone, that asks no other node."""
    found = Api.find(world.folder / "moreton.yaml", waits=False)
    found._places = [each for each in found._places if each.url.endswith(f":{world.api_port}")]
    return found


def answers(world: World) -> bool:
    """Whether the API of *world* answers."""
    with contextlib.suppress(ApiUnreachable, ApiRefused, NotRunning):
        return bool(only(world).get("/v1/status"))
    return False


@contextlib.contextmanager
def three_nodes(folder: Path, stores: Mapping[str, str]) -> Iterator[Nodes]:
    """Three nodes of the store at *stores*, configured and not started."""
    backends: dict[str, Backend] = {}
    nodes = Nodes({name: World(folder / name, backends=backends) for name in NAMES}, stores)
    nodes.write()
    try:
        yield nodes
    finally:
        nodes.end()
