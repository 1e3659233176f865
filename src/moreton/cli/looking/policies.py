"""`moreton explain --policy`: what a policy of moreton.yaml does, in a service and in Envoy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from moreton.cli.output import print_json, print_line


def explain_policy(name: str, config: Path, *, as_json: bool) -> None:
    """Print the layers, the schedule, the load, and what Envoy does not do of it."""
    from moreton.config import load_document, parse  # noqa: PLC0415 - help needs it not
    from moreton.gateway.config.policies import inexpressible  # noqa: PLC0415 - as above
    from moreton.resilience.config import PoliciesSection  # noqa: PLC0415 - as above

    models = parse(load_document(config), PoliciesSection).policies
    if name not in models:
        known = ", ".join(sorted(models)) or "none"
        raise typer.BadParameter(f"no policy is called {name!r}; the policies are: {known}")
    explanation = models[name].as_policy(name).explain()
    missing = inexpressible(models[name])
    if as_json:
        document: dict[str, Any] = {"policy": name, **asdict(explanation), "envoy_cannot": missing}
        print_json(document)
        return
    print_line(str(explanation))
    if missing:
        print_line("\nwhere Envoy makes the calls:")
        for line in missing:
            print_line(f"  {line}")
