"""Sagas as Mermaid text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from moreton.transactions.saga.core.plan import Act, Kind, Plan, StepPlan

_SHAPES = {
    Act.CALL: '{id}["{text}"]',
    Act.SIGNAL: '{id}{{{{"{text}"}}}}',
    Act.PAUSE: '{id}(["{text}"])',
    Act.CHILD: '{id}[["{text}"]]',
}
# Colours that are told apart by those who see fewer of them too.
_CLASSES = {
    "done": "fill:#d7ecd9,stroke:#2e7d32",
    "undone": "fill:#e3e3e3,stroke:#616161,stroke-dasharray:4",
    "stuck": "fill:#fbd5d0,stroke:#b3261e,stroke-width:3px",
    "failed": "fill:#fde7c7,stroke:#b26a00",
    "pivot": "stroke-width:4px",
}


def flow_chart(plan: Plan, states: Mapping[str, str] | None = None) -> str:
    """The steps of *plan* and their order, what undoes them, and where nothing is undone any more.

    *states*: of each step by name, `done`, `undone`, `failed` or `stuck`, where that is known.
    """
    lines = ["flowchart LR", f'  begin(("{_safe(plan.name)}"))', *_nodes(plan), *_arrows(plan)]
    seen = states or {}
    for name, style in _CLASSES.items():
        members = [f"s{i}" for i, step in enumerate(plan.steps) if _is_of(step, name, seen)]
        if members:
            lines += [f"  classDef {name} {style}", f"  class {','.join(members)} {name}"]
    return "\n".join(lines) + "\n"


def _nodes(plan: Plan) -> Iterator[str]:
    for i, step in enumerate(plan.steps):
        text = _safe(step.name)
        if step.kind is not Kind.COMPENSATABLE:
            text += f"<br/><i>{step.kind}</i>"
        elif step.has_undo:
            text += "<br/><i>can be undone</i>"
        yield "  " + _SHAPES[step.act].format(id=f"s{i}", text=text)
    yield '  done((("end")))'


def _arrows(plan: Plan) -> Iterator[str]:
    for i, before in enumerate(plan.before):
        for j in sorted(before):
            yield f"  s{j} {_arrow(plan.steps[j])} s{i}"
        if not before:
            yield f"  begin --> s{i}"
    for i, after in enumerate(plan.after):
        if not after:
            yield f"  s{i} {_arrow(plan.steps[i])} done"
    if not plan.steps:
        yield "  begin --> done"


def _arrow(step: StepPlan) -> str:
    """Thick from where nothing is undone any more."""
    return "-->" if step.kind is Kind.COMPENSATABLE else "==>"


def _is_of(step: StepPlan, name: str, states: Mapping[str, str]) -> bool:
    if name == "pivot":
        return step.kind is Kind.PIVOT
    return states.get(step.name) == name


def _safe(text: str) -> str:
    return text.replace('"', "'").replace("<", "(").replace(">", ")")
