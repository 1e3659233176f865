"""Says in what two answers to the same request differ, and what of it means nothing.

Use it to prove that a new service answers as the application does, before anybody depends on it.
Not to test a service by itself: that two answers are the same does not say that they are right.

Guarantees: comparing never raises, whatever a body holds, and costs its size; bodies that are not
what their type says, unpack to more than is bearable, or are nested beyond reason are named as
that. What does not count is written down, each rule with its reason::

    rules = Rulebook([*DEFAULT_RULES, Rule.parse("$.items[*].updated_at", "ignore", "is now")])
    for one in compare(primary, candidate, rules).differences:
        print(one.path, one.kind, one.primary, one.candidate)
        # $.items[3].price value 9.99 999
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moreton.kernel.lazy import on_demand

if TYPE_CHECKING:
    from moreton.strangler.compare.comparer import compare
    from moreton.strangler.compare.core.answers import Answer
    from moreton.strangler.compare.core.differences import Comparison, Difference, Kind, Shape
    from moreton.strangler.compare.core.noise.learning import Noise, Verdict
    from moreton.strangler.compare.core.redaction import Redactor
    from moreton.strangler.compare.core.rules.defaults import DEFAULT_RULES
    from moreton.strangler.compare.core.rules.rulebook import Rule, Rulebook
    from moreton.strangler.compare.sqlite import Differences

__all__ = [
    "DEFAULT_RULES",
    "Answer",
    "Comparison",
    "Difference",
    "Differences",
    "Kind",
    "Noise",
    "Redactor",
    "Rule",
    "Rulebook",
    "Shape",
    "Verdict",
    "compare",
]

# Who reads moreton.yaml needs none of what reads bodies.
__getattr__ = on_demand(
    __name__,
    {
        "comparer": ["compare"],
        "core.answers": ["Answer"],
        "core.differences": ["Comparison", "Difference", "Kind", "Shape"],
        "core.noise.learning": ["Noise", "Verdict"],
        "core.redaction": ["Redactor"],
        "core.rules.defaults": ["DEFAULT_RULES"],
        "core.rules.rulebook": ["Rule", "Rulebook"],
        "sqlite": ["Differences"],
    },
)
