"""The bearer token, checked before anything else looks at a request."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from moreton.controlplane.problems import problem

# Answered to anyone who can connect: they tell nothing about what is configured.
_OPEN = frozenset({"/v1/health", "/openapi.json", "/docs"})


class BearerAuth:
    """An ASGI layer that lets only requests with *token* through."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what carries the token, answer 401 otherwise."""
        if scope["type"] == "http" and not self._allowed(scope):
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        if scope["path"] in _OPEN:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return secrets.compare_digest(given, self._expected)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: Any = problem(
            401,
            "token-required",
            "the request carries no valid token, so it was not carried out; send the header "
            "`authorization: Bearer TOKEN` with the content of the file .moreton/token",
        )
        answer.headers["www-authenticate"] = "Bearer"
        await answer(scope, receive, send)
