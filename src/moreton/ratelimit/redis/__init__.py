"""Limits that many machines share, in a Redis or Valkey."""

from moreton.ratelimit.core.rules.values import FailMode
from moreton.ratelimit.redis.leases import LeasedLimiter
from moreton.ratelimit.redis.limiter import RedisLimiter

__all__ = ["FailMode", "LeasedLimiter", "RedisLimiter"]
