"""An extension for Flask.

EffectsOf(app)
"""

from __future__ import annotations

from flask import Flask, request

from moreton.strangler.agent.agent import Agent
from moreton.strangler.agent.servers.wsgi import ROUTE, EffectsMiddleware


class EffectsOf:
    """Sees what each request to *app* does: statements of SQLAlchemy, files, mail, HTTP."""

    def __init__(self, app: Flask | None = None, agent: Agent | None = None) -> None:
        self._agent = agent
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Begin with *app*."""
        # The first of them, so that a refusal by another one is known by its route.
        app.before_request_funcs.setdefault(None, []).insert(0, _remember_route)
        app.wsgi_app = EffectsMiddleware(app.wsgi_app, self._agent or Agent())  # type: ignore[method-assign]


def _remember_route() -> None:
    if request.url_rule is not None:
        request.environ[ROUTE] = request.url_rule.rule
