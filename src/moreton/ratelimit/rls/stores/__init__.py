"""Where the counts of descriptors are: here, on this machine, or among machines."""

from moreton.ratelimit.rls.stores.local import LocalStore
from moreton.ratelimit.rls.stores.store import Store

__all__ = ["LocalStore", "Store"]
