"""What every test gets: the plugin that users get, and property tests that repeat themselves."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["moreton.testing.plugin"]

# A machine may be busy: no example is wrong because it took long.
settings.register_profile("patient", deadline=None)
# One push must not fail for what another found: new examples are for people, and `make soak`.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "patient")
