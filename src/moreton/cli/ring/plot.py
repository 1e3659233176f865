"""`moreton ring plot`: messages against the number of nodes, measured and by the book."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from moreton.cli.arguments import write_file
from moreton.cli.output import AsJson, console, print_json, print_line, print_rows
from moreton.election.ring.core.algorithms import Algorithm

_NODES_MAX = 4096


def plot(
    *,
    algorithm: Annotated[
        list[Algorithm] | None, typer.Option(help="Only this one; may be given again.")
    ] = None,
    nodes_max: Annotated[
        int, typer.Option(min=2, max=_NODES_MAX, help="Powers of two up to this many.")
    ] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Orders drawn for each average.")] = 20,
    seed: Annotated[int, typer.Option(help="Draws the orders.")] = 1,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the chart there as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count messages in simulated elections, and draw them beside the theory's curves.

    [bold]Examples[/]

      moreton ring plot

      moreton ring plot --algorithm lcr --nodes-max 2048 --svg messages.svg
    """
    # rich and the charts are not for `--help`.
    from moreton.cli.ring.chart import svg_chart, terminal_chart  # noqa: PLC0415 - as above
    from moreton.cli.ring.measuring import CASES, measure  # noqa: PLC0415 - as above

    curves = {
        case: [
            measure(case, 1 << power, rounds=rounds, seed=seed)
            for power in range(1, nodes_max.bit_length())
            if 1 << power <= min(nodes_max, case.nodes_max)
        ]
        for case in CASES
        if not algorithm or case.algorithm in algorithm
    }
    if svg is not None:
        write_file("--svg", svg, svg_chart(curves))
    if as_json:
        print_json(_document(curves, seed))
        return
    screen = console()
    screen.print(terminal_chart(curves, width=screen.width))
    rows = [
        [case.name, f"{p.nodes:,}", f"{p.measured:,.1f}", f"{p.expected:,.1f}", f"{p.ratio:.3f}"]
        for case, points in curves.items()
        for p in points[-1:]
    ]
    print_rows(["", "nodes", "measured", "theory", "ratio"], rows, empty="")
    if svg is not None:
        print_line(f"written: {svg}")


def _document(curves: Any, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "curves": [
            {
                "name": case.name,
                "algorithm": case.algorithm.value,
                "theory_is_bound": case.is_bound,
                "points": [
                    {"nodes": p.nodes, "measured": round(p.measured, 2), "theory": p.expected}
                    for p in points
                ],
            }
            for case, points in curves.items()
        ],
    }
