"""The service that takes the product pages over: a database of its own, no Django."""
