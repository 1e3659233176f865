"""Commands by which instances leave, rest, and are started anew."""
