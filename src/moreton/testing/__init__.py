"""What users import in their own tests: a load that hides nothing, a virtual clock, scripts."""

from moreton.kernel.rng import seeded_rng
from moreton.sim.script import Command, ScriptMismatch, run_script
from moreton.testing.clock import VirtualClock
from moreton.testing.load import LoadReport, Sample, SteadyLoad

__all__ = [
    "Command",
    "LoadReport",
    "Sample",
    "ScriptMismatch",
    "SteadyLoad",
    "VirtualClock",
    "run_script",
    "seeded_rng",
]
