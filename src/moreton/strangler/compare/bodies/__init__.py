"""Reads bodies: takes them out of their compression, and says what is in them."""
