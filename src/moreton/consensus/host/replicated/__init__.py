"""What all nodes hold alike: the state machine, who is where, which commands were applied."""
