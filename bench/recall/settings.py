"""The shop of examples/oscar with the REST API of django-oscar, and in several languages."""

from __future__ import annotations

from shop.settings import *  # noqa: F403 - the shop as it is
from shop.settings import INSTALLED_APPS as SHOP_APPS
from shop.settings import MIDDLEWARE as SHOP_MIDDLEWARE

INSTALLED_APPS = [*SHOP_APPS, "rest_framework", "oscarapi"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    *SHOP_MIDDLEWARE,
    "django.middleware.locale.LocaleMiddleware",
]
ROOT_URLCONF = "bench.recall.urls"
REST_FRAMEWORK = {"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]}
OSCAR_PRODUCTS_PER_PAGE = 8  # a list takes 60 ms then, and 150 ms with 20
OSCARAPI_BLOCK_ADMIN_API_ACCESS = True
