"""A report as a page of HTML that stands alone: to be looked at, sent on, or printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from moreton.strangler.reporting import words
from moreton.strangler.reporting.plots import COLOURS, DRAWN, NARROW, WIDE, picture
from moreton.strangler.reporting.story import Entry, Report, Visit
from moreton.strangler.rollout.core.progress import Phase

_STYLE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:940px;padding:28px 24px 48px;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:24px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:17px;margin:34px 0 8px}
p{margin:6px 0} .faint{color:var(--faint)} code{font:13px ui-monospace,monospace;
overflow-wrap:anywhere}
.state{display:inline-block;padding:1px 10px;border-radius:999px;font-size:13px;font-weight:600;
border:1.5px solid;margin-right:8px}
.done{color:var(--good)} .rolled-back,.frozen,.fail{color:var(--bad)}
.running,.paused,.inconclusive{color:var(--wait)} .pass{color:var(--good)}
.planned{color:var(--faint)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;
margin:18px 0 22px;padding:0}
.facts div{background:var(--band);border-radius:10px;padding:10px 14px}
.facts dt{color:var(--faint);font-size:13px} .facts dd{margin:0}
.facts b{display:block;font-size:22px;line-height:1.3;font-variant-numeric:tabular-nums}
.facts span{font-size:13px;color:var(--faint)}
.scroll{overflow-x:auto} table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;font-weight:600;color:var(--faint);white-space:nowrap}
th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.short{white-space:nowrap} td.long{min-width:220px}
ol{padding-left:0;list-style:none} ol>li{margin:10px 0;padding-left:32px;position:relative}
ol>li>i{position:absolute;left:0;top:1px;width:21px;height:21px;border-radius:50%;
background:var(--bad);color:var(--paper);font:700 12px/21px system-ui;text-align:center}
svg{display:block;width:100%;height:auto} .narrow{display:none}
@media (max-width:600px){body{padding:18px 14px 32px} h1{font-size:20px}
.wide{display:none}.narrow{display:block} .facts{grid-template-columns:1fr 1fr}}
@media print{body{max-width:none;padding:0;font-size:12px} .scroll{overflow:visible}
table{font-size:10.5px} td.short,td.number{white-space:normal} h2{break-after:avoid}
tr,li,svg,.facts{break-inside:avoid} .narrow{display:none}.wide{display:block}
.facts div{border:1px solid var(--line)}}
@page{margin:14mm}
"""
# On paper there is no dark.
_PRINTED = "@media print{:root{" + COLOURS.split(":root{", 1)[1].split("}", 1)[0] + "}}"


def as_page(report: Report) -> str:
    """The report as one HTML document, without scripts and without anything from elsewhere."""
    plan = report.plan
    title = f"{plan.name}: {plan.route} from {plan.baseline} to {plan.candidate}"
    body = "\n".join(_body(report, title))
    # While it goes on, whoever keeps the page open should know how old it is.
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n"
        f"<style>{COLOURS}{_PRINTED}{_STYLE}{DRAWN}</style></head>\n<body>\n"
        f"{body}\n</body></html>\n"
    )


def _body(report: Report, title: str) -> Iterator[str]:
    phase = report.progress.phase
    yield f"<h1>Migration {_text(title)}</h1>"
    state = f'<span class="state {phase}">{words.standing(report)}</span>'
    yield f"<p>{state}{_text(words.headline(report))}</p>"
    if report.progress.reason and phase is not Phase.RUNNING:
        yield f"<p>Why: {_text(report.progress.reason)}</p>"
    yield f'<p class="faint">{_text(_when(report))}</p>'
    yield _facts(report)
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        yield f'<div class="{name}">{picture(report, width)}</div>'
    for heading, found in (
        ("Stages", _stages(report)),
        ("Incidents", _incidents(report)),
        ("Proof", _proof(report)),
        ("Differences", _differences(report)),
        ("Accepted", _accepted(report)),
        ("History", _history(report)),
    ):
        yield f"<h2>{heading}</h2>"
        if heading == "Differences" and report.note:
            yield f"<p>{_text(report.note)}</p>"
        yield found or f'<p class="faint">{words.NONE[heading]}</p>'


def _when(report: Report) -> str:
    made = f"report made {words.moment(report.made)}"
    if report.began is None:
        return made
    end = f", ended {words.moment(report.ended)}" if report.ended is not None else ""
    return f"began {words.moment(report.began)}{end}; {made}"


def _facts(report: Report) -> str:
    cards = [
        f"<div><dt>{_text(what)}</dt><dd><b>{_text(much)}</b><span>{_text(word)}</span></dd></div>"
        for what, much, word in words.facts(report)
    ]
    return f'<dl class="facts">{"".join(cards)}</dl>'


def _stages(report: Report) -> str:
    rows = [_stage(each, report) for each in report.visits]
    columns = ["try", "stage", "took", "#answers", "#failed", "#p50 / p95 / p99 ms", "#differ"]
    told = _table([*columns, "then"], rows)
    return told and f'<p class="faint">{_sides(report)}</p>{told}'


def _sides(report: Report) -> str:
    """Whose the two lines of a cell are."""
    old, new = report.plan.baseline, report.plan.candidate
    return _text(f"Above {new}'s, below {old}'s.")


def _stage(visit: Visit, report: Report) -> list[str]:
    both = (visit.candidate, visit.baseline)
    kind = "" if visit.left is None else ("pass" if visit.passed else visit.left.kind)
    return [
        _cell(str(visit.attempt)),
        _cell(visit.stage),
        _cell(words.took(visit, report.made)),
        _two(f"{each.requests:,}" for each in both),
        _two(map(words.failures, both)),
        _two(map(words.quantiles, both)),
        _cell(words.differing(visit.compared, visit.different), "number"),
        _cell(words.left(visit), f"short {kind}"),
    ]


def _proof(report: Report) -> str:
    rows = [
        [
            _cell(str(visit.attempt)),
            _cell(visit.stage),
            _cell(each["gate"]),
            _cell(each["outcome"], f"short {each['outcome']}"),
            _cell(words.sizes(each), "number"),
            _cell(words.odds(each), "number"),
            _cell(each["why"], "long"),
        ]
        for visit in report.visits
        for each in visit.verdicts
    ]
    columns = ["try", "stage", "gate", "says", "#answers", "#by chance", "why"]
    told = _table(columns, rows)
    if not told:
        return ""
    sides = f"Answers are {report.plan.candidate}'s / {report.plan.baseline}'s."
    return f'<p class="faint">{_text(words.confidence(report))} {_text(sides)}</p>{told}'


def _differences(report: Report) -> str:
    rows = [
        [
            _cell(each.endpoint, "long"),
            f'<td class="long"><code>{_text(each.field)}</code></td>',
            _cell(each.kind),
            _cell(f"{each.count:,}", "number"),
            _cell(words.moment(each.first_seen)),
            _cell(words.moment(each.last_seen)),
            _cell(", ".join(map(str, each.pairs))),
        ]
        for each in report.differences
    ]
    columns = ["endpoint", "field", "kind", "#count", "first seen", "last seen", "pairs kept"]
    return _table(columns, rows)


def _accepted(report: Report) -> str:
    rows = [
        [
            f'<td class="long"><code>{_text(each.what)}</code></td>',
            _cell(each.treatment),
            _cell(each.because, "long"),
            _cell(each.where),
        ]
        for each in report.accepted
    ]
    return _table(["what", "how", "because", "where"], rows)


def _incidents(report: Report) -> str:
    found = [_incident(number, each) for number, each in enumerate(report.incidents, start=1)]
    return f"<ol>{''.join(found)}</ol>" if found else ""


def _incident(number: int, entry: Entry) -> str:
    by = f" by {entry.by}" if entry.by else ""
    head = (
        f"<i>{number}</i><b>{_text(words.happened(entry))}</b>{_text(by)} in try {entry.attempt}, "
        f'stage {_text(entry.stage)} <span class="faint">{words.moment(entry.when)}</span>'
    )
    told = entry.because and not entry.is_proven
    because = f"<br>{_text(entry.because)}" if told else ""
    return f"<li>{head}{because}{_evidence(entry.verdicts)}</li>"


def _evidence(verdicts: Sequence[Mapping[str, Any]]) -> str:
    told = [
        f'<br><span class="{each["outcome"]}">{_text(each["gate"])}: {each["outcome"]}</span>, '
        f"{_text(each['why'])}"
        f"{_text(f' ({odds} by chance)' if (odds := words.odds(each)) != words.NOTHING else '')}"
        for each in verdicts
    ]
    return "".join(told)


def _history(report: Report) -> str:
    rows = [
        [
            _cell(words.moment(each.when)),
            _cell(words.happened(each)),
            _cell(each.by),
            _cell(each.stage),
            _cell(words.share(each.share), "number"),
            _cell(each.because, "long"),
        ]
        for each in report.entries
    ]
    return _table(["when", "what", "by", "stage", "#share", "because"], rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """*rows* of cells; a column whose name begins with # is of numbers."""
    listed = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    if not listed:
        return ""
    heads = "".join(
        f'<th class="number">{_text(each[1:])}</th>'
        if each[0] == "#"
        else f"<th>{_text(each)}</th>"
        for each in columns
    )
    return f'<div class="scroll"><table><tr>{heads}</tr>\n{listed}</table></div>'


def _cell(text: str, style: str = "short") -> str:
    return f'<td class="{style.strip()}">{_text(text)}</td>'


def _two(texts: Iterable[str]) -> str:
    above, below = texts
    return f'<td class="number">{_text(above)}<br><span class="faint">{_text(below)}</span></td>'


def _text(text: str) -> str:
    return escape(text, quote=True)
