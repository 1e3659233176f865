"""A report as Markdown: to be put into a pull request, or a wiki."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from moreton.strangler.reporting import words
from moreton.strangler.reporting.story import Entry, Report, Visit
from moreton.strangler.reporting.timeline import Timeline
from moreton.strangler.rollout.core.samples import Sample
from moreton.strangler.rollout.core.sides import Side

_BARS = "▁▂▃▄▅▆▇█"
_CHARS_WIDE = 60
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#"})


def as_markdown(report: Report) -> str:
    """The report, with the picture as far as letters can draw it."""
    plan = report.plan
    sides = f"from {_plain(plan.baseline)} to {_plain(plan.candidate)}"
    parts = [
        f"# Migration {_plain(plan.name)}: {_plain(plan.route)} {sides}",
        f"**{_plain(words.headline(report))}** Made {words.moment(report.made)}.",
        *([f"Why: {_plain(report.progress.reason)}"] if report.progress.reason else []),
        _table(["", "", ""], [(f"**{what}**", *rest) for what, *rest in words.facts(report)]),
        *_bars(report),
        *_section("Stages", _table(_STAGES, [_stage(each, report) for each in report.visits])),
        *_section("Incidents", _incidents(report)),
        *_section("Proof", _proof(report)),
        *_section("Differences", _differences(report)),
        *_section("Accepted", _accepted(report)),
        *_section("History", _table(_HISTORY, map(_entry, report.entries))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_STAGES = ("try", "stage", "took", "answers", "failed", "p50 / p95 / p99 ms", "differ", "then")
_HISTORY = ("when", "what", "by", "stage", "share", "because")


def _stage(visit: Visit, report: Report) -> Sequence[str]:
    old, new = visit.baseline, visit.candidate
    return (
        str(visit.attempt),
        _plain(visit.stage),
        words.took(visit, report.made),
        f"{new.requests:,} / {old.requests:,}",
        f"{words.failures(new)} / {words.failures(old)}",
        f"{words.quantiles(new)}, before {words.quantiles(old)}",
        words.differing(visit.compared, visit.different),
        _plain(words.left(visit)),
    )


def _proof(report: Report) -> str:
    rows = [
        (
            str(visit.attempt),
            _plain(visit.stage),
            _plain(each["gate"]),
            each["outcome"],
            words.sizes(each),
            words.odds(each),
            _plain(each["why"]),
        )
        for visit in report.visits
        for each in visit.verdicts
    ]
    told = _table(("try", "stage", "gate", "says", "answers", "by chance", "why"), rows)
    return told and f"{words.confidence(report)}\n\n{told}"


def _differences(report: Report) -> str:
    rows = [
        (
            _plain(each.endpoint),
            _code(each.field),
            each.kind,
            f"{each.count:,}",
            words.moment(each.first_seen),
            words.moment(each.last_seen),
        )
        for each in report.differences
    ]
    told = _table(("endpoint", "field", "kind", "count", "first seen", "last seen"), rows)
    return "\n\n".join(each for each in (_plain(report.note), told) if each)


def _accepted(report: Report) -> str:
    rows = [
        (_code(each.what), _plain(each.treatment), _plain(each.because), each.where)
        for each in report.accepted
    ]
    return _table(("what", "how", "because", "where"), rows)


def _incidents(report: Report) -> str:
    found = []
    for number, entry in enumerate(report.incidents, start=1):
        why = f": {_plain(entry.because)}" if entry.because and not entry.is_proven else ""
        by = f" by {_plain(entry.by)}" if entry.by else ""
        line = f"{number}. {words.moment(entry.when)}, try {entry.attempt}, stage "
        found.append(f"{line}{_plain(entry.stage)}: **{_plain(words.happened(entry))}**{by}{why}")
        for each in entry.verdicts:
            gate, outcome = _plain(each["gate"]), each["outcome"]
            found.append(f"   - {gate}: {outcome}, {_plain(each['why'])}")
    return "\n".join(found)


def _entry(entry: Entry) -> Sequence[str]:
    return (
        words.moment(entry.when),
        _plain(words.happened(entry)),
        _plain(entry.by),
        _plain(entry.stage),
        words.share(entry.share),
        _plain(entry.because),
    )


def _bars(report: Report) -> Iterator[str]:
    """The picture, as far as letters can draw it."""
    if not report.samples:
        return
    time = Timeline(report.samples, 0.0, _CHARS_WIDE)
    columns = [each for run in time.columns(pixels=1.0, seconds=0.0) for each in run]
    new = report.plan.candidate
    lines = [
        ("share", [each.share for each in columns], 1.0),
        (f"{new} failed", [_failing(each.candidate) for each in columns], 0.0),
        ("differ", [_differing(each) for each in columns], 0.0),
    ]
    wide = max(len(name) for name, _, _ in lines)
    drawn = [f"{name:<{wide}} {_bar(values, most)}" for name, values, most in lines if any(values)]
    yield "\n".join(["```text", *drawn, "```"]) if drawn else ""


def _bar(values: Sequence[float], most: float) -> str:
    top = most or max(values)
    bars = "".join(_BARS[min(7, round(7 * each / top))] if each else " " for each in values)
    return f"{bars}  up to {words.share(max(values))}"


def _failing(side: Side) -> float:
    return side.errors / side.requests if side.requests else 0.0


def _differing(sample: Sample) -> float:
    return sample.different / sample.compared if sample.compared else 0.0


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body or words.NONE[title]]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    listed = list(rows)
    if not listed:
        return ""
    lines = [columns, ["---"] * len(columns), *listed]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _code(text: str) -> str:
    """*text* as it is, in a cell of a table."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`"


def _plain(text: str) -> str:
    """*text* without what Markdown would take for its own."""
    return " ".join(text.split()).translate(_SPECIAL)
