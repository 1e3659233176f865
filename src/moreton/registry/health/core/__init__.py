"""The machines of health checks: pure."""
