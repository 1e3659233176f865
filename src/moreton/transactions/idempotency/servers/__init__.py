"""Idempotency keys around what a service answers: one module for each kind of server."""
