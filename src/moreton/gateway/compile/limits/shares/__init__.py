"""Limits that several proxies share: what each proxy charges a request, by its share."""
