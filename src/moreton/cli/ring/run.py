"""`moreton ring run`: one election, watched."""

from __future__ import annotations

from typing import Annotated

import typer

from moreton.cli.output import AsJson, console, print_json, print_line
from moreton.cli.ring.drawing import Spot, draw_ring
from moreton.cli.ring.report import Report
from moreton.cli.ring.screen import Screen
from moreton.cli.ring.settings import Wanted, check_size, initiators_of, uids_of
from moreton.election.ring.core.algorithms import Algorithm


def run(
    *,
    algorithm: Annotated[Algorithm, typer.Option(help="How to elect.")] = Algorithm.LCR,
    nodes: Annotated[int, typer.Option(min=1, help="How many.")] = 7,
    uids: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Their UIDs, clockwise; else drawn.")
    ] = None,
    initiators: Annotated[
        int | None, typer.Option(metavar="N", help="How many begin; else all.")
    ] = None,
    processes: Annotated[
        bool, typer.Option("--processes", help="Real processes over TCP, not a simulation.")
    ] = False,
    kill: Annotated[
        int, typer.Option(min=0, metavar="N", help="Kill the leader and N - 1 others, elect again.")
    ] = 0,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Make it effective there: sqlite:///state.sqlite."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw each step.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the order, and who dies.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Elect a leader on a ring, and draw it.

    A simulated run is the same for the same seed. Real processes repair their ring when some
    die; what they decide counts only with a store, and is advisory without one.

    [bold]Examples[/]

      moreton ring run --algorithm hirschberg-sinclair --nodes 16 --watch

      moreton ring run --processes --nodes 7 --kill 2

      moreton ring run --nodes 10000 --json
    """
    drawn = uids_of(uids, nodes, seed)
    wanted = Wanted(
        algorithm=algorithm,
        uids=drawn,
        initiators=initiators_of(initiators, drawn, seed),
        kill=kill,
        processes=processes,
        store=store,
        watch=watch,
        seed=seed,
    )
    check_size(wanted)
    with Screen(watch=watch and not as_json, paced=not processes) as screen:
        report = _run(wanted, screen)
    if as_json:
        print_json(report.document())
        return
    console().print(_last_picture(report, screen))
    for sentence in report.sentences():
        print_line(sentence)


def _run(wanted: Wanted, screen: Screen) -> Report:
    if wanted.processes:
        from moreton.cli.ring.living import run_processes  # noqa: PLC0415 - asyncio and the store

        return run_processes(wanted, screen)
    from moreton.cli.ring.simulated import SimulatedDeaths, run_lap  # noqa: PLC0415 - as above

    return SimulatedDeaths(wanted, screen).run() if wanted.kill else run_lap(wanted, screen)


def _last_picture(report: Report, screen: Screen) -> object:
    leader = report.decisions[-1].leader.priority
    spots = []
    for uid in report.wanted.uids:
        state = "leader" if uid.priority == leader else "follower"
        state = "dead" if uid.priority in report.killed else state
        spots.append(Spot(str(uid.priority), state))
    algorithm = report.wanted.algorithm.value
    return draw_ring(spots, inside=[algorithm, f"{leader} leads"], size=screen.size)
