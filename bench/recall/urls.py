"""The shop's addresses, and those of its REST API."""

from __future__ import annotations

from django.urls import include, path
from shop.urls import urlpatterns as shop_patterns

urlpatterns = [path("api/", include("oscarapi.urls")), *shop_patterns]
