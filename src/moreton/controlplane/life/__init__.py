"""The life of the control plane's process: start, signals, Envoy, the log, the end."""
