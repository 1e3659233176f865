"""The HTTP API under `/v1`: what `moreton` commands and programs talk to."""
