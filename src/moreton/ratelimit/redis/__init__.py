"""Limits that many machines share, in a Redis or Valkey."""

from moreton.ratelimit.redis.leases import LeasedLimiter
from moreton.ratelimit.redis.limiter import RedisLimiter
from moreton.ratelimit.redis.outage import FailMode

__all__ = ["FailMode", "LeasedLimiter", "RedisLimiter"]
