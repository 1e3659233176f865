"""The example's addresses, and one whose every third GET writes."""

from itertools import count

from django.contrib.sites.models import Site
from django.http import HttpRequest, HttpResponse
from django.urls import path
from shop.urls import urlpatterns as shop

_asked = count(1)


def seeded(request: HttpRequest, number: int) -> HttpResponse:
    """Looks as if it read."""
    if next(_asked) % 3 == 0:
        Site.objects.update(name=f"{request.method} {number}")
    return HttpResponse("read")


urlpatterns = [path("seeded/<int:number>/", seeded), *shop]
