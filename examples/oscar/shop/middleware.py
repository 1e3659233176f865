"""Says who answered, so that a moved route can be seen."""

from collections.abc import Callable
from typing import TypeAlias

from django.http import HttpRequest, HttpResponse

View: TypeAlias = Callable[[HttpRequest], HttpResponse]


def served_by(get_response: View) -> View:
    """Put `x-served-by: shop` on every answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["x-served-by"] = "shop"
        return response

    return middleware
