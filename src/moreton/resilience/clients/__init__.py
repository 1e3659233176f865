"""Resilience for HTTP and gRPC clients: a policy for each destination, around each request.

Each module needs its library: `pip install moreton[httpx2]`, `[requests]`, `[aiohttp]`; httpx and
gRPC come with Moreton.
"""
