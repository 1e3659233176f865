"""Processes share a limit through a file: exactly, and whoever of them is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.rings import Concurrency, SlidingLog
from moreton.ratelimit.core.windows import FixedWindow, SlidingCounter
from moreton.ratelimit.errors import LimitsUnreadable
from moreton.ratelimit.local import LocalLimiter
from moreton.ratelimit.shared import SharedLimiter
from moreton.ratelimit.shared.file import BOOT, MUTEX_AT
from moreton.ratelimit.shared.locks import FileLock
from support.manual_clock import ManualClock
from support.waits import SECONDS, end_at_once, join_all, line_of, status_of_child

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[2] / "support" / "limit_worker.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits"


def workers(path: Path, rate: str, calls: int, count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, str(WORKER), str(path), rate, str(calls)]
    return [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]


def begin(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert line_of(process.stdout, "ready") == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def test_processes_never_get_more_than_the_limit_and_all_of_it(path: Path) -> None:
    processes = workers(path, "10000/d", 5000, 4)
    begin(processes)
    got = [int(process.communicate(timeout=60)[0]) for process in processes]
    # One comes back in 8.6 s.
    assert 10_000 <= sum(got) <= 10_010


def test_processes_that_are_killed_while_they_decide_stop_nobody(path: Path) -> None:
    limiter = SharedLimiter(path, Gcra("1000000/d"), keys_max=64)
    killed = 0
    for _ in range(20):
        victims = workers(path, "1000000/d", 10**9, 2)
        begin(victims)
        before = limiter.decide("ada", 0).left
        until = time.monotonic() + SECONDS
        while limiter.decide("ada", 0).left > before - 2000:
            assert time.monotonic() < until, "the victims decide nothing"
        for victim in victims:
            end_at_once(victim)
        killed += len(victims)
        assert limiter.allow("ada")
        if limiter.recovered():
            break
    assert killed
    # With two that do nothing else, one of a few dies within the lock.
    assert limiter.recovered()
    assert limiter.allow("ada")


def test_a_process_that_dies_with_the_lock_is_survived(path: Path) -> None:
    limiter = SharedLimiter(path, Gcra("10/h"))
    pid = os.fork()
    if not pid:
        limiter._lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    assert status_of_child(pid) == -signal.SIGKILL
    assert limiter.allow("ada")
    assert limiter.recovered() == (1 if sys.platform == "linux" else 0)


def test_children_count_with_their_parent(path: Path) -> None:
    limiter = SharedLimiter(path, Gcra("10/h"))
    assert limiter.allow("ada")
    pid = os.fork()
    if not pid:
        os._exit(sum(limiter.allow("ada") for _ in range(20)))
    assert status_of_child(pid) == 9
    assert not limiter.allow("ada")


def test_threads_count_together(path: Path) -> None:
    limiter = SharedLimiter(path, Gcra("1000/h"), Gcra("900/d"), clock=ManualClock())
    got: list[int] = []

    def ask() -> None:
        got.append(sum(limiter.allow("ada") for _ in range(600)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    join_all(threads)
    assert sum(got) == 900


KINDS: dict[str, list[Limit]] = {
    "one moment": [Gcra("3/s")],
    "moments": [Gcra("3/s"), Gcra("10/min", burst=4)],
    "rows": [FixedWindow("4/s"), SlidingLog("6/2s"), SlidingCounter("5/s"), Concurrency(3)],
}


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(0, 2)), max_size=40))
def test_it_decides_as_the_limiter_of_one_process_does(
    tmp_path_factory: pytest.TempPathFactory, kind: str, steps: list[tuple[str, int, float]]
) -> None:
    clock = ManualClock()
    path = tmp_path_factory.mktemp("limits") / "limits"
    shared = SharedLimiter(path, *KINDS[kind], keys_max=16, clock=clock)
    local = LocalLimiter(*KINDS[kind], clock=clock)
    for key, cost, gap in steps:
        clock.advance(gap)
        assert shared.allow(key, cost) == local.allow(key, cost)
        ours, theirs = shared.decide(key, cost), local.decide(key, cost)
        assert ours == theirs
        if cost == 2:
            shared.give_back(ours)
            local.give_back(theirs)
        if cost == 3:
            assert shared.charge(key, 1) == local.charge(key, 1)
    shared.close()


def test_states_stay_when_all_processes_end(path: Path) -> None:
    first = SharedLimiter(path, Gcra("10/h"))
    assert first.decide("ada", 9)
    first.close()
    assert SharedLimiter(path, Gcra("10/h")).decide("ada", 0).left == 1


def test_other_limits_are_another_file_and_files_that_nobody_uses_go(path: Path) -> None:
    first = SharedLimiter(path, Gcra("10/h"))
    second = SharedLimiter(path, Gcra("20/h"))
    assert first.decide("ada", 10)
    assert second.decide("ada", 20)
    assert len(list(path.parent.iterdir())) == 2
    foreign = path.with_name(f"limits.{'0' * 16}")
    foreign.write_text("of somebody else")
    first.close()
    third = SharedLimiter(path, Gcra("30/h"))
    assert len(list(path.parent.iterdir())) == 3
    assert foreign.exists()
    assert not second.decide("ada")
    third.close()


def test_what_is_from_before_the_machine_was_started_is_forgotten(path: Path) -> None:
    first = SharedLimiter(path, Gcra("10/h"))
    assert first.decide("ada", 10)
    first.close()
    (file,) = path.parent.iterdir()
    with file.open("r+b") as opened:
        opened.seek(8 * BOOT)
        opened.write(b"another!")
        # A lock that was held then, by a thread whose number another one has now.
        opened.seek(MUTEX_AT)
        opened.write((os.getppid()).to_bytes(4, "little"))
    assert SharedLimiter(path, Gcra("10/h")).decide("ada", 10)


def test_when_all_places_of_a_key_owe_the_one_that_owes_least_goes(path: Path) -> None:
    limiter = SharedLimiter(path, Gcra("10/h"), keys_max=8, clock=ManualClock())
    for number in range(200):
        assert limiter.allow(f"key {number}")
    told = limiter.statistics()
    assert told.keys == 16
    assert told.evicted == 184


def test_a_key_that_lost_its_place_in_another_process_begins_anew(path: Path) -> None:
    ours = SharedLimiter(path, Gcra("1/h"), keys_max=1)
    theirs = SharedLimiter(path, Gcra("1/h"), keys_max=1)
    assert ours.allow("ada")
    for number in range(200):
        theirs.decide(f"key {number}")
    assert ours.allow("ada")
    assert not ours.allow("ada")


def test_a_key_is_reset_for_all(path: Path) -> None:
    ours, theirs = SharedLimiter(path, Gcra("1/h")), SharedLimiter(path, Gcra("1/h"))
    assert ours.allow("ada")
    theirs.reset("ada")
    assert ours.allow("ada")


@pytest.fixture
def file_lock(path: Path) -> FileLock:
    path.touch()
    return FileLock(path)


def test_a_lock_on_the_file_is_freed_with_its_holder(file_lock: FileLock) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        file_lock.acquire()
        os.write(writing, b"!")
        signal.pause()
    assert os.read(reading, 1) == b"!"
    threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
    file_lock.acquire()  # waits for it to be killed
    file_lock.release()
    assert status_of_child(pid) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)


def test_misuse_is_told(path: Path) -> None:
    with pytest.raises(LimitsUnreadable, match=r"No such file or directory: .* as /dev/shm"):
        SharedLimiter(path / "no" / "folder", Gcra("1/s"))
    with pytest.raises(ValueError, match=r"need 14\.9 GiB; give a lower keys_max"):
        SharedLimiter(path, SlidingLog("10000/d"), keys_max=100_000)
    with pytest.raises(TypeError, match="as '/dev/shm/shop-limits'"):
        SharedLimiter(Gcra("1/s"), Gcra("2/s"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="each makes its own"):
        pickle.dumps(SharedLimiter(path, Gcra("1/s")))
    with pytest.raises(TypeError, match="key is 7"):
        SharedLimiter(path, Gcra("1/s")).allow(7)  # type: ignore[arg-type]
