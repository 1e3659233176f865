"""Where an application's effects are seen: one module for each place that they leave by."""
