"""What the shape of the section `migrations` cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from moreton.config import Fault, Location
from moreton.controlplane.checks import meant
from moreton.controlplane.migrations.hooks.posting import read_secret
from moreton.gateway.core.model import Route
from moreton.strangler.compare.core.live import Live
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.webhooks import Webhook

_PREVENTS = "the migration cannot be started"
Where = Callable[..., Location | None]


def check_migrations(
    plans: Mapping[str, Plan],
    routes: Mapping[str, Route],
    comparisons: Mapping[str, Live],
    where: Where,
) -> Iterator[Fault]:
    """Routes that no one defines or that send elsewhere, two of one route, copies of nothing."""
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
        elif any(stage.copies for stage in plan.stages):
            yield from _check_copies(name, plan, comparisons.get(plan.route), place)


def check_webhooks(webhooks: Mapping[str, Sequence[Webhook]], where: Where) -> Iterator[Fault]:
    """Secrets that cannot be read, or that anybody can guess."""
    for migration, of_migration in webhooks.items():
        for each in of_migration:
            place = where("migrations", migration, "webhooks", each.name, "secret_file")
            try:
                read_secret(each)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                what = f"secret_file {each.secret_file!r} cannot be read, {reason}"
                yield Fault(what, "put the secret there", place, "nothing could be signed")
            except ValueError as error:
                what, _, todo = str(error).partition("; ")
                yield Fault(what, todo, place, "nothing could be signed")


def _check_copies(
    name: str, plan: Plan, live: Live | None, place: Location | None
) -> Iterator[Fault]:
    if live is not None and live.candidate == plan.candidate and live.may_copy:
        return
    what = f"migration {name!r} compares answers of {plan.candidate!r}, and "
    todo = f"write `{plan.route}: {{candidate: {plan.candidate}, side_effects: …}}` in `compare`"
    if live is None:
        what += f"`compare` does not have its route {plan.route!r}"
    elif live.candidate != plan.candidate:
        what += f"`compare` asks {live.candidate!r} for route {plan.route!r}"
    else:
        what += f"whether copies of route {plan.route!r} have side effects is unknown"
        todo = "say in `compare` what its `side_effects` are: none or recorded"
    yield Fault(what, todo, place, "its answers would be compared with nothing")
