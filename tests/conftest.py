"""What every test gets: the plugin that users get, and property tests that repeat themselves."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["moreton.testing.plugin"]

# One push must not fail for what another found: new examples are for people, and `make soak`.
settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("repeatable")
