"""Counts over all inboxes and leases of a database."""

from __future__ import annotations

from typing import Any

from moreton.transactions.outbox.tables.script import Script, Statement


def consumers() -> Script[list[dict[str, Any]]]:
    """Each inbox: what it remembers, what is set aside, how far it has read."""
    remembered, aside, reached = yield [
        Statement("SELECT consumer, count(*) FROM moreton_inbox GROUP BY consumer"),
        Statement(
            "SELECT consumer, count(*), coalesce(sum(dead), 0) FROM moreton_aside GROUP BY consumer"
        ),
        Statement("SELECT consumer, topic, position FROM moreton_positions ORDER BY topic"),
    ]
    found: dict[str, dict[str, Any]] = {}

    def entry(name: str) -> dict[str, Any]:
        empty = {"consumer": name, "handled": 0, "set_aside": 0, "dead": 0, "reached": {}}
        return found.setdefault(name, empty)

    for name, count in remembered:
        entry(name)["handled"] = int(count)
    for name, count, dead in aside:
        entry(name).update(set_aside=int(count), dead=int(dead))
    for name, topic, position in reached:
        entry(name)["reached"][topic] = int(position)
    return [found[name] for name in sorted(found)]


def leases() -> Script[list[dict[str, Any]]]:
    """Who may act alone, by name."""
    (rows,) = yield [
        Statement("SELECT name, holder, token, beat FROM moreton_leases ORDER BY name")
    ]
    return [
        {
            "name": name,
            "state": f"held by {holder[:8]}" if holder else "free",
            "holder": holder,
            "token": int(token),
            "beat": int(beat),
        }
        for name, holder, token, beat in rows
    ]


def forget_position(consumer: str, topic: str) -> Script[bool]:
    """Delete how far *topic* was read; whether that was known."""
    (rows,) = yield [
        Statement(
            "DELETE FROM moreton_positions WHERE consumer = ? AND topic = ? RETURNING 1",
            (consumer, topic),
        )
    ]
    return bool(rows)
