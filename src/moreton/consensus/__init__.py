"""Raft: a few machines that agree on one log, and go on while most of them live."""
