"""The services that `moreton up` starts itself, by `run:` in `moreton.yaml`."""

from moreton.controlplane.development.processes import DevelopmentProcesses, ProcessStatistics

__all__ = ["DevelopmentProcesses", "ProcessStatistics"]
