from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import moreton
from moreton.kernel.lazy import on_demand

PACKAGES = sorted(
    found.name for found in pkgutil.iter_modules(moreton.__path__, "moreton.") if found.ispkg
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


def test_a_name_that_no_module_has_is_an_attribute_error_that_names_it() -> None:
    find = on_demand("moreton.resilience", {"policy": ["Policy"]})
    with pytest.raises(AttributeError, match=r"'moreton\.resilience' has no attribute 'Polcy'"):
        find("Polcy")


@pytest.mark.slow
def test_a_module_is_loaded_by_the_first_who_asks_for_one_of_its_names() -> None:
    script = """
import sys
import moreton.resilience.core.backoff
print("moreton.resilience.policy" in sys.modules)
from moreton.resilience import Policy
print("moreton.resilience.policy" in sys.modules, "Policy" in vars(moreton.resilience))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False", "True", "True"]
