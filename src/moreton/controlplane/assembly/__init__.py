"""Putting the control plane together: its sources, its servers, its processes, its life."""
