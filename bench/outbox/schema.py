"""The tables of the shop and of the bank, and the outbox between them."""

from __future__ import annotations

from moreton.transactions.outbox import Event, Outbox

ORDERS = "CREATE TABLE IF NOT EXISTS orders (n bigint PRIMARY KEY, amount bigint NOT NULL)"
BANK = "CREATE TABLE IF NOT EXISTS payments (n bigint NOT NULL, amount bigint NOT NULL)"
OUTBOX = Outbox("orders")
CUSTOMERS = 1000


def order(n: int) -> Event:
    """What is told of order *n*."""
    data = {"n": n, "amount": 10, "article": "umbrella", "street": "x" * 100}
    return OUTBOX.event("order.placed", data, subject=f"customer-{n % CUSTOMERS}")
