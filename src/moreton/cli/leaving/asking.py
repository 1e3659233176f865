"""Questions to a control plane that may be away for a while, and who asks them."""

from __future__ import annotations

import contextlib
import difflib
import getpass
import http
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from moreton.cli.client import Api, ApiRefused, ApiUnreachable
from moreton.kernel.errors import MoretonError

# A control plane that is started again, or another node that takes over, is there within this.
PATIENCE_SECONDS = 60.0
_AGAIN_SECONDS = 0.3
_AnswerT = TypeVar("_AnswerT")


class UnknownInstance(MoretonError):
    """No registered instance has that id."""

    code = "unknown-instance"

    def __init__(self, *, instance: str, similar: str) -> None:
        hint = f'did you mean "{similar}"?' if similar else "see `moreton instances`"
        super().__init__(f'no instance "{instance}" is registered: nothing was changed; {hint}')


class InstanceAmbiguous(MoretonError):
    """Instances of several services have that id."""

    code = "instance-ambiguous"

    def __init__(self, *, instance: str, services: Sequence[str]) -> None:
        super().__init__(
            f'instances of {", ".join(services)} are called "{instance}": nothing was changed; '
            f"say which by --service {services[0]}"
        )


def find_instance(api: Api, instance: str, service: str | None) -> dict[str, Any]:
    """The instance of that id. Raises `UnknownInstance`, `InstanceAmbiguous`."""
    there = api.get(f"/v1/services/{service}/instances" if service else "/v1/instances")
    found: list[dict[str, Any]] = [each for each in there if each["id"] == instance]
    if not found:
        similar = difflib.get_close_matches(instance, [each["id"] for each in there], n=1)
        raise UnknownInstance(instance=instance, similar=similar[0] if similar else "")
    if len(found) > 1:
        services = [each["service"] for each in found]
        raise InstanceAmbiguous(instance=instance, services=services)
    return found[0]


def path_of(instance: dict[str, Any]) -> str:
    """Where the API has the instance."""
    return f"/v1/services/{instance['service']}/instances/{instance['id']}"


def patiently(
    ask: Callable[[], _AnswerT], say: Callable[[str], None], seconds: float = PATIENCE_SECONDS
) -> _AnswerT:
    """What *ask* answers; asked again, for *seconds*, while no control plane can answer.

    *say* is told once that it is waited for. Only for what may be asked twice.
    """
    until = time.monotonic() + seconds
    told = False
    while True:
        try:
            return ask()
        except (ApiUnreachable, ApiRefused) as error:
            passes = not isinstance(error, ApiRefused) or error.status in {
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                http.HTTPStatus.INTERNAL_SERVER_ERROR,
            }
            if not passes or time.monotonic() >= until:
                raise
            if not told:
                say("the control plane does not answer: waiting for it")
                told = True
        time.sleep(_AGAIN_SECONDS)


def asker() -> str:
    """Who asks, for those who read it later: `user@machine`."""
    user = "somebody"
    with contextlib.suppress(Exception):  # a user without a name in the machine's list
        user = getpass.getuser()
    return f"{user}@{os.uname().nodename}"[:255]


def tell(text: str) -> None:
    """*text* beside the answer, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for people
