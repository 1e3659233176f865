"""What the shape of the section `migrations` cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from moreton.config import Fault, Location
from moreton.controlplane.checks import meant
from moreton.gateway.core.model import Route
from moreton.strangler.rollout.core.plan import Plan

_PREVENTS = "the migration cannot be started"
Where = Callable[..., Location | None]


def check_migrations(
    plans: Mapping[str, Plan], routes: Mapping[str, Route], where: Where
) -> Iterator[Fault]:
    """Routes that no one defines or that send elsewhere, and two migrations of one route."""
    taken: dict[str, str] = {}
    for name, plan in plans.items():
        route = routes.get(plan.route)
        place = where("migrations", name, "route")
        if route is None:
            what = f"migration {name!r} moves the route {plan.route!r}, which no one defines"
            todo = f"define it, or {meant(plan.route, routes, 'remove the migration')}"
            yield Fault(what, todo, place, _PREVENTS)
            continue
        if plan.route in taken:
            what = (
                f"migration {name!r} moves the route {plan.route!r}, as {taken[plan.route]!r} does"
            )
            yield Fault(what, "let one migration move a route", place, _PREVENTS)
        taken.setdefault(plan.route, name)
        sides = {plan.baseline, plan.candidate}
        if {each.service for each in route.to} != sides:
            found = ", ".join(each.service for each in route.to) or "nobody"
            what = (
                f"migration {name!r} moves from {plan.baseline!r} to {plan.candidate!r}, and the "
                f"route {plan.route!r} sends to {found}"
            )
            todo = f"write `to: {{{plan.baseline}: 100, {plan.candidate}: 0}}` in the route"
            yield Fault(what, todo, place, _PREVENTS)
