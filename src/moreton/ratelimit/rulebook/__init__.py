"""The rules of `moreton.yaml`, or of a control plane, around what a service answers.

book = Rulebook.from_file("moreton.yaml", service="shop")
app = RateLimitMiddleware(app, book)
"""

from moreton.ratelimit.rulebook.book import Rulebook
from moreton.ratelimit.rulebook.following import follow_control_plane, follow_file

__all__ = ["Rulebook", "follow_control_plane", "follow_file"]
