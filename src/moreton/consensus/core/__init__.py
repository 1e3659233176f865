"""Raft, pure: it is told what happened and says what to do."""
