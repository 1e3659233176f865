"""Says in what two answers to the same request differ, and which of it is only noise."""
