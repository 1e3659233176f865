"""Who leads: rings, bully and leases, each made effective by a fencing token."""
