"""Limits that the processes of one machine share, in a file that all of them map: no server."""

from moreton.ratelimit.shared.limiter import SharedLimiter

__all__ = ["SharedLimiter"]
