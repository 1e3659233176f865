"""What differences are, with nothing read, sent or kept."""
