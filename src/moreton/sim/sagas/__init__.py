"""Random sagas under random faults, held to a page of plain code that says what a saga is."""

from moreton.sim.sagas.model import Model
from moreton.sim.sagas.plans import random_plan
from moreton.sim.sagas.run import Outcome, run_saga

__all__ = ["Model", "Outcome", "random_plan", "run_saga"]
