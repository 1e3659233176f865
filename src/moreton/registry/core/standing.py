"""What others say of an instance, beside what it says itself: an order, and what checks found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.faults import text_faults

# As much of what a check saw as helps to find the cause.
OUTPUT_CHARS_MAX = 500
NOT_YET = "it was not looked at yet"


class InstanceState(StrEnum):
    """What an instance is doing; only a serving one is sent requests."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    CRITICAL = "critical"


class InstanceKind(StrEnum):
    """How long a registration lasts."""

    EPHEMERAL = "ephemeral"  # it hangs on a lease, and ends with it
    PERSISTENT = "persistent"  # it stays until it is deregistered


class InstanceSource(StrEnum):
    """Who registered an instance."""

    SDK = "sdk"  # its own program, by `moreton.registry.register`
    RUN = "run"  # `moreton run`, or `run:` in moreton.yaml
    YAML = "yaml"
    HTTP = "http"  # whoever called the HTTP API
    CONSUL = "consul"
    DNS = "dns"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Order:
    """An operator's, or a drain's: to be in *state*, whatever the instance says of itself.

    It outlives a registration that ends by its lease and one that is made anew under the same
    id; an explicit deregistration takes it along. Raises `InstanceNotValid`.
    """

    state: InstanceState
    since: datetime
    reason: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        faults = [*text_faults("reason", self.reason), *text_faults("by", self.by)]
        if self.state not in {InstanceState.DRAINING, InstanceState.MAINTENANCE}:
            faults.append(f"nobody can be ordered to be {self.state}; order draining, maintenance")
        if faults:
            raise InstanceNotValid(faults)


class CheckStatus(StrEnum):
    """What a check found."""

    PASSING = "passing"
    WARNING = "warning"  # to be looked at by people; requests are sent all the same
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the check *id* found, *since* when, and what it saw then."""

    id: str
    status: CheckStatus
    since: datetime | None  # unknown before anything was found
    output: str = ""

    def is_failure(self) -> bool:
        """Whether it was looked at and found critical."""
        return self.status is CheckStatus.CRITICAL and self.output != NOT_YET


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks of an instance found, by the ids of the checks."""

    checks: tuple[CheckResult, ...] = ()

    @property
    def status(self) -> CheckStatus:
        """The worst of all; passing without any."""
        found = {each.status for each in self.checks}
        for worst in (CheckStatus.CRITICAL, CheckStatus.WARNING):
            if worst in found:
                return worst
        return CheckStatus.PASSING

    def critical(self) -> CheckResult | None:
        """The first that found it critical; what was not looked at yet found nothing."""
        return next((each for each in self.checks if each.is_failure()), None)
