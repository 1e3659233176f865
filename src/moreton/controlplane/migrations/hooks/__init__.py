"""Webhooks of migrations: what happened is told to programs elsewhere, at least once."""
