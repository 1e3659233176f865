"""`moreton migrate`: move a route to a new service in steps that take themselves back."""

from moreton.cli.migrate.diffs import diffs
from moreton.cli.migrate.effects import effects
from moreton.cli.migrate.looking import history, plan, status, watch
from moreton.cli.migrate.ordering import migrate
from moreton.cli.migrate.report import report

for command in (plan, status, watch, history, report, diffs, effects):
    migrate.command(command.__name__)(command)

__all__ = ["migrate"]
