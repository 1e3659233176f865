"""What Consul's HTTP API means, without HTTP: pure."""
