"""What users import in their own tests: a load that hides nothing, virtual time, scripts."""

from moreton.kernel.rng import seeded_rng
from moreton.sim.script import Command, ScriptMismatch, run_script
from moreton.testing.clock import VirtualClock
from moreton.testing.load import LoadReport, Sample, SteadyLoad
from moreton.testing.timing import VirtualTiming, no_backoff

__all__ = [
    "Command",
    "LoadReport",
    "Sample",
    "ScriptMismatch",
    "SteadyLoad",
    "VirtualClock",
    "VirtualTiming",
    "no_backoff",
    "run_script",
    "seeded_rng",
]
