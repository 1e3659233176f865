"""Where nodes say what is asked of their gateways, and where the leader says who has what."""

from __future__ import annotations

REPORTS = b"/moreton/quotas/reports/"
GRANTS = b"/moreton/quotas/grants"


def holder_name(node: str, gateway: str) -> str:
    """The holder of shares that is the proxy of *node* for *gateway*; neither has a slash."""
    return f"{node}/{gateway}"


def report_key(holder: str) -> bytes:
    """Where *holder* reports."""
    return REPORTS + holder.encode()


def holder_of(key: bytes) -> str:
    """Whose report is at *key*."""
    return key.removeprefix(REPORTS).decode(errors="replace")
