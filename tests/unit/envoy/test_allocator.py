from __future__ import annotations

import pytest

from moreton.envoy.process.allocator import VARIABLE, allocator_environment

TOLD = {VARIABLE: "glibc.pthread.rseq=0"}


@pytest.mark.parametrize(
    ("release", "added"),
    [
        ("6.18.44", TOLD),
        ("5.15.167.4-microsoft-standard-WSL2", TOLD),
        ("6.8.0-1019-aws", TOLD),
        ("6.19.0", {}),
        ("6.19-rc3", {}),
        ("7.1.2-arch1-1", {}),
        ("unknown", {}),
        ("", {}),
    ],
)
def test_caches_are_by_cpu_on_kernels_from_before_the_change(
    release: str, added: dict[str, str]
) -> None:
    assert allocator_environment({}, system="Linux", release=release) == added


def test_other_systems_are_left_alone() -> None:
    assert allocator_environment({}, system="Darwin", release="6.1.0") == {}


def test_what_somebody_told_glibc_stays() -> None:
    given = {VARIABLE: "glibc.malloc.check=1"}
    found = allocator_environment(given, system="Linux", release="6.1.0")
    assert found == {VARIABLE: "glibc.malloc.check=1:glibc.pthread.rseq=0"}
    for decided in ("glibc.pthread.rseq=1", "a=b:glibc.pthread.rseq=0"):
        assert allocator_environment({VARIABLE: decided}, system="Linux", release="6.1.0") == {}
