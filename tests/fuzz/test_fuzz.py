"""Whatever is sent, neither Consul's API nor the DNS server fails: by hypothesis, and by coverage.

Longer: `make soak`, or `python tests/fuzz/run.py TARGET SECONDS FOLDER`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import consul_requests, dns_packets

RUN = Path(__file__).with_name("run.py")
TARGETS = ("consul_requests", "dns_packets")
SECONDS, SECONDS_SOAK = 4, 900


@pytest.fixture(scope="module")
def consul() -> Iterator[consul_requests.Target]:
    target = consul_requests.Target()
    yield target
    target.close()


@pytest.fixture(scope="module")
def dns() -> dns_packets.Target:
    return dns_packets.Target()


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A valid input with some bytes replaced, something put in and the end cut off."""

    def damage(seed: bytes, places: list[tuple[int, int]], middle: bytes, end: int) -> bytes:
        made = bytearray(seed)
        for place, byte in places:
            made[place % len(made)] = byte
        cut = places[0][0] % len(made)
        return bytes(made[:cut] + middle + made[cut : len(made) - end % len(made)])

    place = st.tuples(st.integers(0, 2000), st.integers(0, 255))
    places = st.lists(place, min_size=1, max_size=6)
    return st.builds(
        damage, st.sampled_from(seeds), places, st.binary(max_size=8), st.integers(0, 20)
    )


@given(data=damaged(consul_requests.seeds()) | st.binary(max_size=300))
def test_consul_api_survives_what_is_damaged(consul: consul_requests.Target, data: bytes) -> None:
    consul(data)


@given(data=damaged(dns_packets.seeds()) | st.binary(max_size=600))
def test_dns_survives_what_is_damaged(dns: dns_packets.Target, data: bytes) -> None:
    dns(data)


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_is_taken(
    target: str, consul: consul_requests.Target, dns: dns_packets.Target
) -> None:
    if target == "consul_requests":
        for seed in consul_requests.seeds():
            consul(seed)
    else:
        for seed in dns_packets.seeds():
            dns(seed)


def fuzz(target: str, seconds: int, folder: Path) -> int:
    """Fuzz *target*; how many inputs it took."""
    if importlib.util.find_spec("atheris") is None:
        # It has wheels for Linux on x86-64 alone.
        reason = "atheris is not installed: coverage-guided fuzzing did NOT run"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    command = [sys.executable, str(RUN), target, str(seconds), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    told = done.stdout + done.stderr
    failed = [path.read_bytes() for path in folder.glob(f"{target}-*")]
    assert done.returncode == 0, f"{failed}\n{told[-3000:]}"
    found = re.search(r"number_of_executed_units: (\d+)", told)
    assert found is not None, told[-3000:]
    return int(found[1])


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_reach_new_code_are_survived(target: str, tmp_path: Path) -> None:
    assert fuzz(target, SECONDS, tmp_path) > 50


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_reach_new_code_are_survived_for_long(target: str, tmp_path: Path) -> None:
    assert fuzz(target, SECONDS_SOAK, tmp_path) > 100_000


@pytest.mark.long
def test_fault_of_a_target_is_noticed(tmp_path: Path) -> None:
    """A fuzzer that finds nothing is believed only if it could find something."""
    program = RUN.read_text().replace(
        "module.Target()", 'lambda data: 1 / 0 if data[:1] == b"\\7" else None'
    )
    broken = tmp_path / "tests" / "fuzz" / "run.py"
    broken.parent.mkdir(parents=True)
    broken.write_text(program.replace("Path(__file__).resolve()", f"Path({str(RUN)!r})"))
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    command = [sys.executable, str(broken), "consul_requests", "20", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout + done.stderr
