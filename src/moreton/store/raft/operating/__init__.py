"""How people run a cluster: making nodes, asking them, saving and restoring what they keep."""
