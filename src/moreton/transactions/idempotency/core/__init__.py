"""What an idempotency key means for a request: pure."""
