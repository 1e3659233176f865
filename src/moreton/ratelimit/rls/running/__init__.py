"""The service as a program: its settings, its processes, its files that change, its metrics."""
