"""What every part stands on: time, ids, randomness, errors, quantities, the machine shape.

Pure but for two clocks and the asyncio `host`, which a core never imports.
"""

from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.ids import new_id
from moreton.kernel.machine import Machine
from moreton.kernel.rng import Rng, seeded_rng, system_rng
from moreton.kernel.time import Clock, Instant, SystemClock

__all__ = [
    "Clock",
    "Instant",
    "Machine",
    "MoretonError",
    "RetryAdvice",
    "Rng",
    "SystemClock",
    "new_id",
    "seeded_rng",
    "system_rng",
]
