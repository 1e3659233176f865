"""Settings of the shop: django-oscar's defaults, SQLite, no network."""

import os
from pathlib import Path

import oscar
from oscar.defaults import *  # noqa: F403 - how django-oscar is set up

STATE = Path(os.environ.get("SHOP_STATE", Path(__file__).parent.parent / ".moreton" / "shop"))

SECRET_KEY = "only-for-this-example"  # noqa: S105 - an example on loopback
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [*oscar.INSTALLED_APPS, "sorl.thumbnail"]
SITE_ID = 1
ROOT_URLCONF = "shop.urls"
MIDDLEWARE = [
    # Says of each route whether its requests write: `moreton migrate effects`.
    "moreton.strangler.agent.servers.django.EffectsMiddleware",
    "shop.middleware.served_by",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
]
MORETON_AGENT: dict[str, object] = {
    "path": os.environ.get("MORETON_EFFECTS", STATE.parent / "effects.sqlite")
}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": STATE / "shop.sqlite",
        "ATOMIC_REQUESTS": True,
        # A page view writes (who saw what last): take the lock first, or wait in vain for it.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}
AUTHENTICATION_BACKENDS = (
    "oscar.apps.customer.auth_backends.EmailBackend",
    "django.contrib.auth.backends.ModelBackend",
)
HAYSTACK_CONNECTIONS = {
    "default": {
        "ENGINE": "haystack.backends.whoosh_backend.WhooshEngine",
        "PATH": str(STATE / "search"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"
WHITENOISE_USE_FINDERS = True  # serve what the packages ship; nothing to collect
MEDIA_URL = "/media/"
MEDIA_ROOT = STATE / "media"
OSCAR_SHOP_NAME = "Fig Tree Books"
OSCAR_ALLOW_ANON_CHECKOUT = True
OSCAR_DEFAULT_CURRENCY = "GBP"
SILENCED_SYSTEM_CHECKS = ["fields.W342"]
