"""Requests and their answers, shown to who compares another service; see ADR 0015."""
