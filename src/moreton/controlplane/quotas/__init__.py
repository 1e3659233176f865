"""Limits that the gateways of all nodes share: each node keeps its shares, the leader divides."""
