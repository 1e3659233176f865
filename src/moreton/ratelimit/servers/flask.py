"""An extension for Flask: limits for all views, and for one.

limits = RateLimits(app, Rule(SharedLimiter("/dev/shm/shop", Gcra("100/s"))))

@app.post("/login")
@limits.limit(Rule(LocalLimiter(Gcra("5/min")), charge=lambda status: status == 401))
def login(): ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, make_response, request

from moreton.ratelimit.rules import Refusal, RuleSource
from moreton.ratelimit.servers.dropping import drop_wsgi
from moreton.ratelimit.servers.guard import Guard
from moreton.ratelimit.servers.wsgi import RateLimitMiddleware, caller_of

_FAILED = 500


class RateLimits:
    """Lets all requests to *app* pass *rules*; more for a view by `limit`."""

    def __init__(self, app: Flask | None = None, *rules: RuleSource) -> None:
        self._rules = rules
        Guard(rules)  # refuse here what is no rule
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Begin with *app*."""
        if self._rules:
            app.wsgi_app = RateLimitMiddleware(app.wsgi_app, *self._rules)  # type: ignore[method-assign]

    def limit(self, *rules: RuleSource) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorate a view, below its route: requests to it pass *rules*, too."""
        guard = Guard(rules)

        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def limited(*args: Any, **kwargs: Any) -> Response:
                passage = guard.enter(caller_of(request.environ))
                if passage.refusal is not None:
                    if passage.refusal.drop:
                        drop_wsgi(request.environ)
                    return _refused(passage.refusal)
                try:
                    response = make_response(view(*args, **kwargs))
                except BaseException:
                    guard.leave(passage, _FAILED)
                    raise
                status, header = response.status_code, response.headers.get
                if response.is_streamed:
                    # Its work goes on; werkzeug's answers are closed at the end, and by WSGI.
                    response.call_on_close(lambda: guard.leave(passage, status, header))
                else:
                    guard.leave(passage, status, header)
                response.headers.extend(passage.fields)
                return response

            return limited

        return decorate


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.body, status=refusal.status, headers=refusal.fields)
