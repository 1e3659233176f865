"""What a service does with what travels with a call: its deadline, its criticality, its attempt."""
