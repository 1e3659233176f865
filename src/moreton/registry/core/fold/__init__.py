"""What the keys below a prefix add up to, and what is said of each instance there."""

from moreton.registry.core.fold.folding import Fold
from moreton.registry.core.fold.record import Common, Record

__all__ = ["Common", "Fold", "Record"]
