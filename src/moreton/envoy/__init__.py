"""The Envoy data plane: xDS server, resources, process."""
