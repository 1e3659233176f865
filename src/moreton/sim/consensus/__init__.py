"""Whole Raft clusters."""

from moreton.sim.consensus.plan import Plan, draw_plan
from moreton.sim.consensus.run import ClusterFault, Outcome, run_plan

__all__ = ["ClusterFault", "Outcome", "Plan", "draw_plan", "run_plan"]
