"""The assembly: `moreton.yaml`, the API's objects and the registry's instances become traffic.

One asyncio process that may die at any moment: Envoy carries the traffic, the store the state.
"""
