"""Keys, transactions on them, and the sessions that lock them."""
