"""Draining: nothing new is sent to an instance, and it is known when that is so everywhere."""

from moreton.controlplane.drains.host import Drains, Elsewhere

__all__ = ["Drains", "Elsewhere"]
