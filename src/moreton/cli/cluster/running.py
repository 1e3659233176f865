"""`moreton cluster run`: one node, the store alone."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

from moreton.cli.cluster.settings import Folder
from moreton.cli.output import AsJson, print_json, print_line
from moreton.store import raft
from moreton.store.raft.errors import NodeLeft, NodeStopped
from moreton.store.raft.folder import NodeFolder

if TYPE_CHECKING:
    from moreton.store.raft.node import ClusterNode

_LOOK_SECONDS = 0.2


def run(folder: Folder, *, as_json: AsJson = False) -> None:
    """Run a node, and nothing else, until stopped.

    `moreton up` runs the node of its store itself; this is for a store apart from it, for a third
    voter on a small machine, and for trying things out. SIGTERM and Ctrl-C hand leadership over
    first. It ends by itself when its disk fails or the node was removed from the cluster.

    [bold]Examples[/]

      moreton cluster run node1
    """
    _show_log()
    asyncio.run(_run(folder, as_json=as_json))


async def _run(folder: Folder, *, as_json: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    who = NodeFolder(folder).node()
    node = raft.open_node(folder)
    try:
        await node.wait_started()
        if as_json:
            print_json({"node": who.node, "cluster": who.cluster, "address": who.address})
        else:
            print_line(f"node {who.node} of the cluster {who.cluster} runs at {who.address}")
        sys.stdout.flush()
        await _watch(node, stopped)
    finally:
        await node.close()


async def _watch(node: ClusterNode, stopped: asyncio.Event) -> None:
    """Return when it is to stop; say who leads. Raises why it must not go on."""
    told: tuple[int, int | None] | None = None
    while not stopped.is_set():
        status = node.status()
        if status.error is not None:
            raise NodeStopped(node=node.node, reason=status.error)
        if node.has_left():
            raise NodeLeft(node=node.node)
        misplaced = node.misplaced()
        if misplaced is not None:
            raise misplaced
        news = (status.raft.term, status.raft.leader)
        if news != told and (news[1] is not None or told is not None):
            who = "nobody" if news[1] is None else f"node {news[1]}"
            _say(f"{who} leads, term {news[0]}")
            told = news
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopped.wait()
        except TimeoutError:
            continue


def _say(text: str) -> None:
    print(f"moreton cluster: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for people


def _show_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("moreton cluster: %(message)s"))
    for name in ("moreton.store.raft", "moreton.consensus"):
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
