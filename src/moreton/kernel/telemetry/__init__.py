"""What is measured, told to Prometheus or to OpenTelemetry: described once, named alike in both."""
