"""Errors as RFC 9457 problem details: one form for every trouble of the HTTP API."""

from __future__ import annotations

import http
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from moreton.controlplane.errors import CommandsNotAllowed
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.registry.errors import (
    CheckUnknown,
    InstanceIdTaken,
    InstanceNotRegistered,
    InstanceNotValid,
)

MEDIA_TYPE = "application/problem+json"
# What a client should wait, in seconds, when trying again later can help.
RETRY_AFTER_SECONDS = 1
_FAULTS_MAX = 50

_LOG = logging.getLogger("moreton.controlplane")

_STATUSES: Mapping[type[MoretonError], int] = {
    CheckUnknown: http.HTTPStatus.NOT_FOUND,
    CommandsNotAllowed: http.HTTPStatus.FORBIDDEN,
    InstanceIdTaken: http.HTTPStatus.CONFLICT,
    InstanceNotRegistered: http.HTTPStatus.NOT_FOUND,
    InstanceNotValid: http.HTTPStatus.UNPROCESSABLE_ENTITY,
}

_Handler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


def install_problems(
    app: FastAPI, *, statuses: Mapping[type[MoretonError], int] | None = None
) -> None:
    """Let *app* answer every error with a problem document.

    *statuses* says which status each class of error has, with its subclasses; the registry's are
    known. Without one, an error that may pass by itself is 503, any other 400.
    """

    async def on_error(_: Request, error: Exception) -> Response:
        return error_response(cast("MoretonError", error), statuses)

    handlers: dict[type[Exception], _Handler] = {
        MoretonError: on_error,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
        Exception: _on_fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def error_response(
    error: MoretonError, statuses: Mapping[type[MoretonError], int] | None = None
) -> Response:
    """The problem that *error* is."""
    known = {**_STATUSES, **(statuses or {})}
    later = error.retry is not RetryAdvice.NEVER
    default = http.HTTPStatus.SERVICE_UNAVAILABLE if later else http.HTTPStatus.BAD_REQUEST
    found = next((known[kind] for kind in type(error).__mro__ if kind in known), default)
    faults = getattr(error, "faults", None)
    more = {"faults": [str(fault) for fault in faults[:_FAULTS_MAX]]} if faults else {}
    return problem(int(found), error.code, str(error), retry=error.retry, more=more)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    retry: RetryAdvice = RetryAdvice.NEVER,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document: *code* is one of `docs/errors.md`, *detail* says what to do."""
    document = {
        "type": f"urn:moreton:error:{code}",
        "title": code.replace("-", " ").replace(".", " "),
        "status": status,
        "detail": detail,
        "code": code,
        "retry": retry.value,
        **(more or {}),
    }
    # Of a service that is not available a client should hear when to come back, whatever it did.
    after = retry is RetryAdvice.AFTER or status == http.HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if after else {}
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _on_invalid(_: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error).errors()[:_FAULTS_MAX]
    faults = [_fault(each) for each in found]
    return problem(
        http.HTTPStatus.UNPROCESSABLE_ENTITY,
        "request-not-valid",
        "; ".join(faults),
        more={"faults": faults},
    )


def _fault(error: Mapping[str, Any]) -> str:
    place = ".".join(str(step) for step in error["loc"] if step != "body") or "body"
    message = str(error["msg"])
    return f"{place}: {message[:1].lower()}{message[1:]}"


async def _on_http(_: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    phrase = http.HTTPStatus(found.status_code).phrase.lower()
    code = phrase.replace(" ", "-").replace("'", "")
    detail = found.detail if found.detail.lower() != phrase else f"{phrase}: see /docs for the API"
    answer = problem(found.status_code, code, detail)
    answer.headers.update(found.headers or {})
    return answer


async def _on_fault(request: Request, error: Exception) -> Response:
    return fault_response(f"{request.method} {request.url.path}", error)


def fault_response(asked: str, error: Exception) -> Response:
    """The problem that *error* is, which nobody expected of what was *asked*; it is logged."""
    _LOG.error("%s failed", asked, exc_info=error)
    detail = (
        f"moreton itself failed, {type(error).__name__}: the request was not carried out; "
        "see the log of the control plane"
    )
    return problem(http.HTTPStatus.INTERNAL_SERVER_ERROR, "fault", detail)
