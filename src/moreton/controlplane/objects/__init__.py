"""The objects that the API puts: kept in the store, followed from there, checked before."""

from moreton.controlplane.objects.control import Control

__all__ = ["Control"]
