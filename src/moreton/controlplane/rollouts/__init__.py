"""Rollouts: the instances of a service started anew one after the other, without a lost request."""

from moreton.controlplane.rollouts.host import Rollouts

__all__ = ["Rollouts"]
