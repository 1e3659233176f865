"""Worlds to test in: virtual time with faults, scripts, conformance suites."""
