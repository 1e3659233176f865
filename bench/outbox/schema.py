"""The tables of the shop and of the bank, and the outbox between them."""

from __future__ import annotations

from moreton.transactions.outbox import Outbox

ORDERS = "CREATE TABLE IF NOT EXISTS orders (n bigint PRIMARY KEY, amount bigint NOT NULL)"
BANK = "CREATE TABLE IF NOT EXISTS payments (n bigint NOT NULL, amount bigint NOT NULL)"
OUTBOX = Outbox("orders")
