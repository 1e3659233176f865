"""The sections of `moreton.yaml` that are about limits: their models, and what they say together.

limits:
  login: {match: {paths: /login, methods: POST}, by: address, limit: 5/min}
clients:
  trusted_proxies: 10.0.0.0/8
"""

from moreton.ratelimit.config.checks import Defined, check_limits, notes_of
from moreton.ratelimit.config.clients import ClientsModel, CountersModel
from moreton.ratelimit.config.limits import LimitModel
from moreton.ratelimit.config.loading import as_limits, load_limits

__all__ = [
    "ClientsModel",
    "CountersModel",
    "Defined",
    "LimitModel",
    "as_limits",
    "check_limits",
    "load_limits",
    "notes_of",
]
