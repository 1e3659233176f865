"""The section `compare` of `moreton.yaml`, as models."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from moreton.config import Duration, Name, Percentage, Section
from moreton.config.words import METHODS, check_methods
from moreton.strangler.compare.core.live import SAFE_METHODS, Live, SideEffects, only_other
from moreton.strangler.compare.core.paths import compile_pattern
from moreton.strangler.compare.core.rules.rulebook import RULES_MAX, Rule

_METHODS = METHODS - {"CONNECT", "TRACE"}
_PATHS_MAX = 200
_TIMEOUT_MAX = timedelta(minutes=1)


class RuleModel(Section):
    """What is said of a path, and why."""

    path: str
    treatment: str = "ignore"
    because: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _meant(self) -> Self:
        Rule.parse(self.path, self.treatment)
        return self


class CompareModel(Section):
    """How a route's requests are compared: of the candidate's answers with the primary's."""

    candidate: Name
    primary: Name | None = None
    share: Percentage = 0.0
    side_effects: str = SideEffects.UNKNOWN.value
    methods: Annotated[list[str], Field(min_length=1)] = sorted(SAFE_METHODS)
    ask_twice: Percentage = 0.1
    timeout: Duration = timedelta(seconds=5)
    rules: Annotated[list[RuleModel], Field(max_length=RULES_MAX)] = []
    redact: Annotated[list[str], Field(max_length=_PATHS_MAX)] = []
    dry_run: bool = False
    apart: list[str] = []  # cookies of sessions that the candidate cannot know

    @field_validator("share", "ask_twice")
    @classmethod
    def _share(cls, value: float) -> float:
        if value > 1:
            raise ValueError(f"{value:.0%} is more than there is; write 100% or less")
        return value

    @field_validator("side_effects")
    @classmethod
    def _known(cls, word: str) -> str:
        words = [each.value for each in SideEffects]
        if word not in words:
            raise ValueError(
                f"{word!r} says nothing of what else a request does; use one of {', '.join(words)}"
            )
        return word

    @field_validator("methods")
    @classmethod
    def _methods(cls, methods: list[str]) -> list[str]:
        return check_methods(methods, _METHODS)

    @field_validator("timeout")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value <= _TIMEOUT_MAX:
            raise ValueError("nothing is waited for that long; write 1s to 1m")
        return value

    @field_validator("redact")
    @classmethod
    def _paths(cls, paths: list[str]) -> list[str]:
        for path in paths:
            compile_pattern(path)
        return paths

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.primary == self.candidate:
            raise ValueError(
                f"{self.candidate!r} is compared with itself; name the new service in `candidate`"
            )
        if self.dry_run and self.side_effects != SideEffects.RECORDED:
            raise ValueError(
                "a dry run is compared with what the application says that it wrote; write "
                "`side_effects: recorded`, and put the agent into both"
            )
        return self

    def as_value(self, route: str, services: Iterable[str]) -> Live:
        """The core's value; *services* are those that *route* sends to."""
        return Live(
            route=route,
            primary=self.primary or only_other(services, self.candidate),
            candidate=self.candidate,
            share=self.share,
            side_effects=SideEffects(self.side_effects),
            methods=frozenset(method.upper() for method in self.methods),
            ask_twice=self.ask_twice,
            timeout=self.timeout,
            rules=tuple((one.path, one.treatment, one.because) for one in self.rules),
            redact=tuple(self.redact),
            apart=frozenset(self.apart),
            dry_run=self.dry_run,
        )
