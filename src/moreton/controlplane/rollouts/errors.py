"""What keeps a rollout from beginning."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.controlplane.errors import ControlPlaneError
from moreton.kernel.errors import RetryAdvice

_NAMED_MAX = 5


class NothingToRestart(ControlPlaneError):
    """The service has no instance."""

    code = "rollout-nothing-to-restart"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str) -> None:
        super().__init__(
            f'service "{service}" has no registered instance: there is nothing to start anew; '
            "see `moreton services` for what there is"
        )


class NotRestartable(ControlPlaneError):
    """Nobody can start some of the instances anew but who started them."""

    code = "rollout-not-restartable"

    def __init__(self, *, service: str, ids: Sequence[str]) -> None:
        shown = ", ".join(ids[:_NAMED_MAX])
        shown += f" and {len(ids) - _NAMED_MAX} more" * (len(ids) > _NAMED_MAX)
        super().__init__(
            f'of service "{service}", {shown} registered without `moreton run`: nobody here can '
            "start it again, so nothing was begun; run it by `moreton run`, or restart it by what "
            "started it: it drains at SIGTERM"
        )


class NoRollout(ControlPlaneError):
    """There is no rollout of the service that could be gone on with."""

    code = "rollout-not-found"

    def __init__(self, *, service: str) -> None:
        super().__init__(
            f'service "{service}" has no rollout under way: there is nothing to show or to end; '
            f"begin one by `moreton rollout restart {service}`"
        )


class RolloutContended(ControlPlaneError):
    """Others changed the rollout each time that it was tried."""

    code = "rollout-contended"
    retry = RetryAdvice.NOW

    def __init__(self, *, service: str) -> None:
        super().__init__(
            f'others changed the rollout of service "{service}" meanwhile: nothing was changed; '
            "try again"
        )
