"""The example's settings: a route is safe once one request was seen, and one of them is seeded."""

from shop.settings import *  # noqa: F403 - the example's
from shop.settings import STATE

ROOT_URLCONF = "support.oscar_urls"
MORETON_AGENT = {"path": STATE / "effects.sqlite", "seen_min": 1}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
