"""`moreton cluster status`: every node, seen from one of them."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from moreton.cli.cluster.settings import Folder
from moreton.cli.exits import Exit
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.store.raft import operating

# Kerberos has allowed five minutes since 1993; as far apart, nodes warn too.
_CLOCK_SECONDS_MAX = 300


def status(folder: Folder, *, as_json: AsJson = False) -> None:
    """Show every node: its role, term, how far it has got, its disk, and whether it is reached.

    `lag` counts entries that the leader has committed and the node has not applied. Exits with 1
    while nobody leads.

    [bold]Examples[/]

      moreton cluster status node1

      moreton cluster status node1 --json
    """
    survey = asyncio.run(operating.Operator(folder).survey())
    nodes = [_document(survey, sight) for sight in survey.sights]
    if as_json:
        print_json(_whole(survey, nodes))
    else:
        _show(survey, nodes)
    if survey.leader is None:
        raise typer.Exit(Exit.NO)


def _whole(survey: operating.Survey, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    leader = survey.leader
    says = leader.says if leader is not None and leader.says is not None else {}
    return {
        "cluster": survey.cluster,
        "leader": says.get("node"),
        "term": says.get("term"),
        "revision": says.get("revision"),
        "nodes": nodes,
    }


def _document(survey: operating.Survey, sight: operating.Sight) -> dict[str, Any]:
    if sight.says is None:
        return {
            "node": sight.node,
            "address": sight.address,
            "role": _role_unseen(survey, sight.node),
            "reachable": False,
            "why": sight.why,
        }
    says = sight.says
    leader = survey.leader
    committed = (
        says["committed"] if leader is None or leader.says is None else (leader.says["committed"])
    )
    return {
        "node": sight.node,
        "address": sight.address,
        "role": "learner" if sight.node in says["learners"] else says["role"],
        "reachable": True,
        "term": says["term"],
        "committed": says["committed"],
        "applied": says["applied"],
        "lag": max(0, committed - says["applied"]),
        "snapshot_index": says["snapshot_index"],
        "disk_bytes": says["disk_bytes"],
        "revision": says["revision"],
        "keys": says["keys"],
        "leases": says["leases"],
        "clock_seconds": sight.clock_seconds,
        "troubles": says["troubles"],
        "error": says["error"],
    }


def _role_unseen(survey: operating.Survey, node: int) -> str:
    leader = survey.leader
    if leader is None or leader.says is None:
        return "unknown"
    return "learner" if node in leader.says["learners"] else "follower"


def _show(survey: operating.Survey, nodes: list[dict[str, Any]]) -> None:
    leader = survey.leader
    if leader is None:
        print_line(f"cluster {survey.cluster}: nobody leads, nothing can be written")
    else:
        assert leader.says is not None
        told = f"node {leader.node} leads term {leader.says['term']}"
        print_line(f"cluster {survey.cluster}: {told}, revision {leader.says['revision']}")
    headings = ["node", "address", "role", "term", "committed", "applied", "lag", "disk", "reached"]
    print_rows(headings, map(_row, nodes), empty="no nodes")
    for one in nodes:
        for line in _wrongs(one):
            print_line(f"node {one['node']}: {line}")


def _row(one: dict[str, Any]) -> list[str]:
    if not one["reachable"]:
        return [str(one["node"]), one["address"], one["role"], "", "", "", "", "", "no"]
    numbers = [str(one[name]) for name in ("term", "committed", "applied", "lag")]
    disk = f"{one['disk_bytes'] / 1024:.0f} KiB"
    return [str(one["node"]), one["address"], one["role"], *numbers, disk, "yes"]


def _wrongs(one: dict[str, Any]) -> list[str]:
    if not one["reachable"]:
        return [one["why"]]
    found = [] if one["error"] is None else [one["error"]]
    if abs(one["clock_seconds"]) > _CLOCK_SECONDS_MAX:
        found.append(f"its clock is {one['clock_seconds']:+.0f} s from this machine's; set it")
    found += [trouble["says"] for each in one["troubles"].values() for trouble in each]
    return found
