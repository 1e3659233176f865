"""A limit that several gateways share, without a call for any request.

Each gateway has a share of the limit and keeps to it by itself. Now and then it says what is asked
of it; one node divides, and hands out other shares. Not for limits that must be exact at every
moment (ask a store, or the rate limit service), nor for those of less than some 20 requests at
once, of which a share is too little to let anything pass.

Guarantees: what all gateways act by is never more than the whole, and one floor for each that has
just come, however late messages are; a gateway that is gone is counted on no more after the life of
its lease; and an outage of whoever divides stops no request, see `HeldQuota`.
"""

from moreton.ratelimit.quota.core.allocator import Allocator
from moreton.ratelimit.quota.core.division import FLOOR, Quota, divide
from moreton.ratelimit.quota.core.holder import CLOSED, OPEN, HeldQuota, Holder
from moreton.ratelimit.quota.core.messages import Grants, Report

__all__ = [
    "CLOSED",
    "FLOOR",
    "OPEN",
    "Allocator",
    "Grants",
    "HeldQuota",
    "Holder",
    "Quota",
    "Report",
    "divide",
]
