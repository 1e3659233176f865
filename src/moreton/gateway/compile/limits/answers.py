"""What a client that a proxy refuses is told, in the same words as a service tells it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from moreton.envoy.messages import any_of, extension
from moreton.ratelimit.core.decision import Decision, Standing
from moreton.ratelimit.core.fields import FieldStyle, fields_of
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.rules import PROBLEM, banned_problem

# Which limit refused: the one field that services do not send.
LIMIT_HEADER = "x-moreton-limit"
# On an answer after which the connection ends; never sent.
DROP_HEADER = "x-moreton-drop"
_LIMIT = f"%RESP({LIMIT_HEADER})%"
_AFTER = "%RESP(RETRY-AFTER)%"
_REFUSED = 'response.code_details == "local_rate_limited"'
_DENIED = "rbac_access_denied"
_SHED = 'response.code_details in ["reached_concurrency_limit", "denied_by_admission_control"]'
_TYPES = "https://iana.org/assignments/http-problem-types#"
_PROBLEMS = {
    429: {"type": _TYPES + "quota-exceeded", "title": "Too many requests"},
    503: {"type": _TYPES + "temporary-reduced-capacity", "title": "Reduced capacity"},
}
_DROP = f"""
function envoy_on_response(answer)
  if answer:headers():get("{DROP_HEADER}") then
    answer:headers():remove("{DROP_HEADER}")
    answer:streamInfo():drainConnectionUponCompletion()
  end
end
"""
# Of a refusal for too much work nobody knows when it ends; a second is what clients round up to.
_SHED_SECONDS = "1"


def refusal_fields(limit: Limit | None, cost: int, style: FieldStyle) -> list[tuple[str, str]]:
    """The header fields of an answer that *limit* refuses; `None` for a ban.

    A bucket refuses when it holds less than the cost: in the time that the cost takes to fill it is
    there for certain, and a client that asks then is the first.
    """
    if limit is None:
        return []
    fresh = [0] * limit.width
    per_one = limit.period_nanos // limit.quota
    retry = NEVER if cost > limit.quota else per_one * cost
    limit.take(fresh, 0, limit.quota)
    standing = Standing(limit, 0, limit.full_in(fresh, 0), retry)
    decision = Decision(
        allowed=False,
        cost=cost,
        delay_nanos=0,
        retry_nanos=retry,
        refused_by=limit.name,
        standings=(standing,),
    )
    return fields_of(decision, style)


def header_options(fields: Iterable[tuple[str, str]]) -> list[base_pb2.HeaderValueOption]:
    """*fields* as Envoy adds them; what the answer has already is replaced."""
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=name, value=value.replace("%", "%%")),
            append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in fields
    ]


def add_local_replies(out: manager_pb2.HttpConnectionManager) -> None:
    """Problem documents for what limits refuse, whatever limits there will be."""
    mappers = out.local_reply_config.mappers
    nothing = manager_pb2.ResponseMapper()
    nothing.filter.CopyFrom(_cel(f'{_REFUSED} && "{DROP_HEADER}" in response.headers'))
    nothing.body.inline_string = ""
    with_time = f'{_REFUSED} && "retry-after" in response.headers'
    known = f"refused by {_LIMIT}: free in at most {_AFTER} s"
    # The most frequent first: each expression costs a refusal a fifteenth of all it takes.
    mappers.append(_mapper(f"{with_time} && response.code == 429", 429, known, after=_AFTER))
    mappers.append(nothing)
    mappers.append(_mapper(f"{with_time} && response.code == 503", 503, known, after=_AFTER))
    for status in (429, 503):
        asked = f"{_REFUSED} && response.code == {status}"
        mappers.append(_mapper(asked, status, f"refused by {_LIMIT}"))
    mappers.append(_banned())
    for status in (429, 503):
        asked = f"{_SHED} && response.code == {status}"
        shed = _mapper(asked, status, "too much work is under way", named=False)
        shed.headers_to_add.extend(header_options([("retry-after", _SHED_SECONDS)]))
        mappers.append(shed)


def _banned() -> manager_pb2.ResponseMapper:
    """As services answer who is banned."""
    out = manager_pb2.ResponseMapper()
    out.filter.CopyFrom(_cel(f'response.code_details.startsWith("{_DENIED}")'))
    out.body_format_override.text_format_source.inline_string = json.dumps(banned_problem())
    out.body_format_override.content_type = PROBLEM
    return out


def drop_filter() -> extension_pb2.TypedExtensionConfig:
    """Ends the connection of a request that is dropped, after an answer without a word.

    No filter of Envoy's ends a connection without any answer once it reads requests.
    """
    out = lua_pb2.Lua()
    out.default_source_code.inline_string = _DROP
    return extension("drop", out)


def _mapper(
    asked: str, status: int, detail: str, *, after: str = "", named: bool = True
) -> manager_pb2.ResponseMapper:
    out = manager_pb2.ResponseMapper()
    out.filter.CopyFrom(_cel(asked))
    problem: dict[str, object] = {**_PROBLEMS[status], "status": status, "detail": detail}
    problem["code"] = "rate-limited"
    if named:
        problem["violated-policies"] = [_LIMIT]
    text = json.dumps(problem)
    if after:
        text = text[:-1] + f', "retry_after": {after}}}'
    out.body_format_override.text_format_source.inline_string = text
    out.body_format_override.content_type = PROBLEM
    return out


def _cel(expression: str) -> accesslog_pb2.AccessLogFilter:
    out = accesslog_pb2.AccessLogFilter()
    out.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    wanted = cel_pb2.ExpressionFilter(expression=expression)
    out.extension_filter.typed_config.CopyFrom(any_of(wanted))
    return out
