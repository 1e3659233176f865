"""The section `policies` of moreton.yaml: named policies, for services and for the gateway.

policies = load_policies()
careful = policies["careful"]                                    # one policy
transport = ResilientTransport(policies.of("careful"))           # one for each destination
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from moreton import resilience
from moreton.config import Duration, Name, Percentage, Section, load_document, parse
from moreton.resilience.core.backoff import Backoff, Growth, Jitter
from moreton.resilience.core.breaker import BreakerPolicy
from moreton.resilience.core.limits import ConcurrencyLimit, Gradient2, Vegas

if TYPE_CHECKING:
    from moreton.resilience.layers.layer import Layer

DEFAULT_FILE = Path("moreton.yaml")


class BackoffModel(Section):
    """How long to wait before each retry; `preset: patient` is 2 s, then three times as long."""

    preset: Literal["patient"] | None = None
    kind: Literal["constant", "linear", "exponential"] = "exponential"
    initial: Duration = timedelta(milliseconds=100)
    multiplier: float = 2.0
    step: Duration = timedelta(0)
    cap: Duration = timedelta(seconds=10)
    jitter: Literal["none", "full", "equal", "decorrelated"] = "full"

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if self.preset is not None and self.model_fields_set - {"preset", "cap"}:
            raise ValueError("a preset has its own values; leave the others out, or the preset")
        self.as_value()
        return self

    def as_value(self) -> Backoff:
        """The core's value."""
        if self.preset is not None:
            return (
                Backoff.patient(cap=self.cap)
                if "cap" in self.model_fields_set
                else (Backoff.patient())
            )
        growth, jitter = Growth(self.kind), Jitter(self.jitter)
        if growth is Growth.CONSTANT:
            return Backoff.constant(self.initial, jitter=jitter)
        if growth is Growth.LINEAR:
            return Backoff.linear(self.initial, self.step, cap=self.cap, jitter=jitter)
        return Backoff.exponential(
            self.initial, multiplier=self.multiplier, cap=self.cap, jitter=jitter
        )


class BudgetModel(Section):
    """What retries may add to the load of a destination."""

    share: Percentage = 0.2
    per_second: float = 3.0

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_value()
        return self

    def as_value(self) -> resilience.RetryBudget:
        """A new budget."""
        return resilience.RetryBudget(self.share, per_second=self.per_second)


class RetryModel(Section):
    """How often and when to try again."""

    attempts: int = 3
    backoff: BackoffModel = BackoffModel()
    budget: BudgetModel = BudgetModel()
    retry_after_max: Duration = timedelta(minutes=1)

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_layer("retry", idempotent=False)
        return self

    def as_layer(self, name: str, *, idempotent: bool) -> resilience.Retry:
        """A new layer."""
        return resilience.Retry(
            attempts=self.attempts,
            idempotent=idempotent,
            backoff=self.backoff.as_value(),
            budget=self.budget.as_value(),
            retry_after_max=self.retry_after_max,
            name=name,
        )


class BreakerModel(Section):
    """When to leave a destination alone."""

    failure_rate: Percentage = 0.5
    window: Annotated[int, Field(ge=1)] | Duration = 100
    minimum_calls: int = 20
    slow_call: Duration | None = None
    slow_call_rate: Percentage = 0.5
    open_for: Duration = timedelta(seconds=5)
    jitter: Percentage = 0.2
    permits: int = 3
    successes: int = 3

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_value()
        return self

    def as_value(self) -> BreakerPolicy:
        """The core's value."""
        return BreakerPolicy(**{name: getattr(self, name) for name in type(self).model_fields})


class BulkheadModel(Section):
    """How many calls at a time."""

    limit: int
    queue: int = 0
    queue_timeout: Duration = timedelta(seconds=1)

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_layer("bulkhead")
        return self

    def as_layer(self, name: str) -> resilience.Bulkhead:
        """A new layer."""
        return resilience.Bulkhead(
            self.limit, queue=self.queue, queue_timeout=self.queue_timeout, name=name
        )


class AdaptiveModel(Section):
    """How many calls at a time, learned from their times."""

    kind: Literal["gradient2", "vegas"] = "gradient2"
    initial: int = 20
    lowest: int = 4
    highest: int = 1000

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_layer("adaptive")
        return self

    def as_layer(self, name: str) -> resilience.AdaptiveLimit:
        """A new layer."""
        kinds: dict[str, Callable[[int, int, int], ConcurrencyLimit]] = {
            "gradient2": Gradient2,
            "vegas": Vegas,
        }
        limit = kinds[self.kind](self.initial, self.lowest, self.highest)
        return resilience.AdaptiveLimit(limit, name=name)


class ThrottleModel(Section):
    """When to hold calls back that would be refused."""

    k: float = 2.0
    window: Duration = timedelta(minutes=2)

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_layer("throttle")
        return self

    def as_layer(self, name: str) -> resilience.ClientThrottle:
        """A new layer."""
        return resilience.ClientThrottle(self.k, window=self.window, name=name)


class HedgeModel(Section):
    """When to start a call a second time; of coroutine functions only."""

    after: Duration
    hedges: int = 1
    share: Percentage = 0.1

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_layer("hedge", idempotent=True)
        return self

    def as_layer(self, name: str, *, idempotent: bool) -> resilience.Hedge:
        """A new layer."""
        budget = resilience.RetryBudget(self.share, per_second=1.0)
        return resilience.Hedge(
            self.after, idempotent=idempotent, hedges=self.hedges, budget=budget, name=name
        )


class PolicyModel(Section):
    """One policy; its layers always stand in the order in which they make sense."""

    idempotent: bool = False  # whether doing a call twice is as good as once
    total_timeout: Duration | None = None
    retry: RetryModel | None = None
    throttle: ThrottleModel | None = None
    breaker: BreakerModel | None = None
    adaptive: AdaptiveModel | None = None
    bulkhead: BulkheadModel | None = None
    hedge: HedgeModel | None = None
    timeout: Duration | None = None

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.as_policy("policy")
        return self

    def as_policy(self, name: str) -> resilience.Policy:
        """A new policy, which knows nothing yet of its destination."""
        return resilience.Policy(*self._layers(name), name=name)

    def _layers(self, name: str) -> Iterator[Layer]:
        # A deadline holds for everything; retries stand outside what they are to be kept from
        # repeating against; a slot is taken last, and given back before the next wait.
        if self.total_timeout is not None:
            yield resilience.TotalTimeout(self.total_timeout, name=name)
        if self.retry is not None:
            yield self.retry.as_layer(name, idempotent=self.idempotent)
        if self.throttle is not None:
            yield self.throttle.as_layer(name)
        if self.breaker is not None:
            yield resilience.CircuitBreaker(self.breaker.as_value(), name=name)
        if self.adaptive is not None:
            yield self.adaptive.as_layer(name)
        if self.bulkhead is not None:
            yield self.bulkhead.as_layer(name)
        if self.hedge is not None:
            yield self.hedge.as_layer(name, idempotent=self.idempotent)
        if self.timeout is not None:
            yield resilience.Timeout(self.timeout, name=name)


class NamedPolicies(Mapping[str, "resilience.Policy"]):
    """Policies by name; what one learns, budgets included, is shared by all who ask here for it."""

    def __init__(self, models: Mapping[str, PolicyModel]) -> None:
        self._models = dict(models)
        self._made: dict[tuple[str, str], resilience.Policy] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> resilience.Policy:
        """The policy *name*, the same each time; raises `KeyError`."""
        return self.of(name)("")

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def of(self, name: str) -> Callable[[str], resilience.Policy]:
        """What gives each destination a policy *name* of its own; raises `KeyError`."""
        if name not in self._models:
            known = ", ".join(sorted(self._models)) or "none"
            raise KeyError(f"no policy is called {name!r}; the policies are: {known}")

        def policy(destination: str) -> resilience.Policy:
            with self._lock:
                found = self._made.get((name, destination))
                if found is None:
                    found = self._made[name, destination] = self._models[name].as_policy(name)
                return found

        return policy


class PoliciesSection(BaseModel):
    """Only the section that concerns a service; the control plane checks the others."""

    model_config = ConfigDict(extra="ignore", strict=True)
    policies: dict[Name, PolicyModel] = {}


def load_policies(path: Path | str = DEFAULT_FILE) -> NamedPolicies:
    """The policies in *path*, a file or a folder; other sections are not looked at.

    Raises `ConfigRefused` with every fault and its place.
    """
    return NamedPolicies(parse(load_document(Path(path)), PoliciesSection).policies)
