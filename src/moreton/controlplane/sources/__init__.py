"""Instances that nobody registers by a program: of moreton.yaml, of files, of DNS names."""
