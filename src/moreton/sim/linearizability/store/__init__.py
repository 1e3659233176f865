"""The store as a model, and its requests and results as histories write them."""

from moreton.sim.linearizability.store.model import StoreModel
from moreton.sim.linearizability.store.showing import shown_range, shown_request, shown_result

__all__ = ["StoreModel", "shown_range", "shown_request", "shown_result"]
