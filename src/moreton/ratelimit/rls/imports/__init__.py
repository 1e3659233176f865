"""Configurations of envoyproxy/ratelimit, read as they are."""

from moreton.ratelimit.rls.imports.folder import Imported, load

__all__ = ["Imported", "load"]
