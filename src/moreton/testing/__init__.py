"""What users import in their own tests."""

from moreton.testing.load import LoadReport, Sample, SteadyLoad

__all__ = ["LoadReport", "Sample", "SteadyLoad"]
