"""Discovery for HTTP and gRPC clients: `http://orders.moreton/` goes to an instance of orders.

Each module needs its library: `pip install moreton[httpx2]`, `[requests]`, `[aiohttp]`; httpx and
gRPC come with Moreton.
"""
