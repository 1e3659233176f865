"""Health checks as values, and as JSON."""

from moreton.registry.core.checks.values import (
    Care,
    Check,
    CommandProbe,
    GrpcProbe,
    HttpProbe,
    Probe,
    Target,
    TcpProbe,
    TtlProbe,
)

__all__ = [
    "Care",
    "Check",
    "CommandProbe",
    "GrpcProbe",
    "HttpProbe",
    "Probe",
    "Target",
    "TcpProbe",
    "TtlProbe",
]
