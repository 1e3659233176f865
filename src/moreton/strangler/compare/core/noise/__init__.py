"""Where an application differs from itself, what that looks like, and what it never does."""
