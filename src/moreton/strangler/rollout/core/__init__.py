"""The pure part of rollouts: what a plan allows, what the numbers say, and what follows."""
