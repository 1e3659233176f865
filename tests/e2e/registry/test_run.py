from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request

import pytest

from e2e.registry.world import Programs, RegistryServer
from support.ports import free_port

pytestmark = pytest.mark.e2e

# Serves at its argument, and writes down which signals it got.
SERVE = """
    import http.server, os, signal, sys
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    def told(number, _):
        print("told", signal.Signals(number).name, flush=True)
        if number == signal.SIGTERM:
            os._exit(3)
    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGHUP, told)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Quiet).serve_forever()
"""
LONG = ("--ttl", "60s")
SHORT = ("--ttl", "1s")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def serving(programs: Programs, *, place: str = "{port}") -> tuple[str, str, str]:
    return sys.executable, programs.script(SERVE), place


def test_program_is_registered_once_its_port_accepts(
    programs: Programs, server: RegistryServer
) -> None:
    programs.run([*LONG, "--weight", "7", "--id", "one"], *serving(programs))
    (found,) = server.wait_instances(1)
    assert (found["id"], found["address"], found["weight"]) == ("one", "127.0.0.1", 7)
    assert answers(found["port"])


def test_program_finds_its_port_in_the_environment(
    programs: Programs, server: RegistryServer
) -> None:
    command = 'exec "$0" "$1" "$PORT"'
    programs.run(LONG, "sh", "-c", command, *serving(programs)[:2])
    (found,) = server.wait_instances(1)
    assert answers(found["port"])


def test_two_copies_run_at_once_each_at_its_own_port(
    programs: Programs, server: RegistryServer
) -> None:
    for _ in range(2):
        programs.run(LONG, *serving(programs))
    found = server.wait_instances(2)
    assert len({each["port"] for each in found}) == 2
    assert all(answers(each["port"]) for each in found)


def test_program_leaves_at_once_when_it_is_killed(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run(LONG, *serving(programs))
    server.wait_instances(1)
    os.kill(runner.child(), signal.SIGKILL)
    server.wait_instances(0)
    assert runner.wait() == 128 + signal.SIGKILL


def test_program_leaves_when_its_lease_ends_after_the_runner_was_killed(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run(SHORT, *serving(programs))
    (found,) = server.wait_instances(1)
    program = runner.child()
    runner.process.kill()
    killed = time.monotonic()
    server.wait_instances(0)
    assert time.monotonic() - killed < 2, "its ttl of 1 s, and what a busy machine adds"
    assert answers(found["port"]), "the program itself was not touched"
    os.kill(program, signal.SIGKILL)


def test_sigterm_deregisters_first_and_stops_the_program_after_the_grace(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run([*LONG, "--grace", "1s"], *serving(programs))
    (found,) = server.wait_instances(1)
    runner.process.terminate()
    server.wait_instances(0)
    assert answers(found["port"]), "requests that are on their way are served"
    assert runner.wait() == 3, "the program's own status"
    assert "told SIGTERM" in runner.said()
    assert not answers(found["port"])


def test_second_sigterm_skips_the_grace(programs: Programs, server: RegistryServer) -> None:
    runner = programs.run([*LONG, "--grace", "1h"], *serving(programs))
    server.wait_instances(1)
    runner.process.terminate()
    server.wait_instances(0)
    runner.process.terminate()
    assert runner.wait() == 3


def test_interrupt_reaches_the_program_as_an_interrupt(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run([*LONG, "--grace", "0"], *serving(programs))
    server.wait_instances(1)
    runner.process.send_signal(signal.SIGINT)
    assert runner.wait() != 3
    assert "KeyboardInterrupt" in runner.said()
    assert server.instances() == []


def test_sighup_goes_to_the_program_which_stays_registered(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run(LONG, *serving(programs))
    server.wait_instances(1)
    runner.process.send_signal(signal.SIGHUP)
    runner.wait_said("told SIGHUP")
    assert len(server.instances()) == 1
    assert runner.process.poll() is None


def test_program_is_killed_when_it_does_not_stop(
    programs: Programs, server: RegistryServer
) -> None:
    deaf = SERVE.replace("os._exit(3)", "pass")
    options = [*LONG, "--grace", "0", "--stop-timeout", "200ms"]
    runner = programs.run(options, sys.executable, programs.script(deaf), "{port}")
    server.wait_instances(1)
    runner.process.terminate()
    assert runner.wait() == 128 + signal.SIGKILL
    assert "did not stop within 200ms" in runner.said()


def test_program_is_registered_again_when_the_registry_was_away(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run(SHORT, *serving(programs))
    (before,) = server.wait_instances(1)
    server.stop()
    runner.wait_said("may not be registered")
    assert answers(before["port"])
    assert runner.process.poll() is None
    server.start()
    assert server.wait_instances(1) == [before], "the same instance, in a registry that forgot it"


def test_program_runs_when_there_is_no_registry_at_the_start(
    programs: Programs, server: RegistryServer
) -> None:
    server.stop()
    runner = programs.run(SHORT, *serving(programs))
    runner.wait_said("does not answer: connection refused")
    server.start()
    (found,) = server.wait_instances(1)
    assert answers(found["port"])


@pytest.mark.parametrize("found", [True, False])
def test_program_that_is_stopped_without_a_registry_says_why_nothing_is_waited_for(
    programs: Programs, server: RegistryServer, *, found: bool
) -> None:
    server.stop()
    why = "does not answer: connection refused" if found else "no control plane was found"
    environment = {} if found else {"MORETON_API": "", "MORETON_TOKEN": ""}
    moreton = [sys.executable, "-m", "moreton.cli.main", "run", "--service", "catalogue", "--"]
    runner = programs.start(*moreton, *serving(programs), **environment)
    runner.wait_said(why)
    runner.process.send_signal(signal.SIGTERM)
    assert runner.wait() == 3
    told = runner.said()
    assert "stopping without a wait for requests under way: " in told
    assert "not waiting for" not in told
    assert why in told.partition("stopping without")[2]
    server.start()


def test_lease_that_is_unknown_makes_the_program_register_again(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run([*SHORT, "--id", "one"], *serving(programs))
    server.wait_instances(1)
    server.forget("one")
    server.wait_requests("POST /v1/services/catalogue/instances", 2)
    server.wait_instances(1)
    assert runner.process.poll() is None


def test_id_that_is_taken_is_refused_until_its_holder_leaves(
    programs: Programs, server: RegistryServer
) -> None:
    first = programs.run([*SHORT, "--id", "one", "--grace", "0"], *serving(programs))
    (held,) = server.wait_instances(1)
    second = programs.run([*SHORT, "--id", "one"], *serving(programs))
    second.wait_said(f'"one" of service "catalogue" lives at 127.0.0.1:{held["port"]}')
    assert server.instances() == [held]
    first.process.terminate()
    first.wait()
    (found,) = server.wait_instances(1)
    assert found["port"] != held["port"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--service", "Bad_Name"], 'service name "Bad_Name" is not valid'),
        (["--port", "0x1"], "port '0x1' is outside 1 to 65535"),
        (["--port", "65536"], "port '65536' is outside"),
        (["--ttl", "soon"], "--ttl: 'soon' is not a duration"),
        (["--ttl", "1ms"], "ttl 1ms is outside 1s to 1d"),
        (["--meta", "x"], "--meta 'x' is not KEY=VALUE"),
        (["--address", "shop"], 'address "shop" is not an IP address'),
        (["--id", "a/b"], "instance id 'a/b' is not valid"),
        (["--weight", "-1"], "weight -1 is outside"),
    ],
)
def test_bad_option_is_one_clear_line_and_starts_nothing(
    programs: Programs, options: list[str], fault: str
) -> None:
    mark = programs.folder / "started"
    runner = programs.run(options, "touch", str(mark))
    assert runner.wait() != 0
    assert fault in runner.said()
    assert "Traceback" not in runner.said()
    assert not mark.exists()


def test_missing_program_is_one_clear_line(programs: Programs) -> None:
    runner = programs.run([], "no-such-program")
    assert runner.wait() != 0
    assert 'there is no program "no-such-program"' in runner.said()
    assert "Traceback" not in runner.said()


def test_file_that_is_no_program_is_one_clear_line(programs: Programs) -> None:
    runner = programs.run([], programs.script("x"))
    assert runner.wait() != 0
    assert "cannot be started, permission denied" in runner.said()


def test_program_whose_port_never_opens_is_stopped_and_told_what_it_did_instead(
    programs: Programs, server: RegistryServer
) -> None:
    other = str(free_port())
    runner = programs.run(["--ready-timeout", "1500ms"], *serving(programs, place=other))
    assert runner.wait() == 124
    assert f"within 1500ms; it listens on {other} instead" in runner.said()
    assert "told SIGTERM" in runner.said()
    assert server.requests == []


def test_port_of_another_program_is_refused(programs: Programs, server: RegistryServer) -> None:
    runner = programs.run(["--port", str(server.port)], "true")
    assert runner.wait() != 0
    assert f"another program accepts connections at 127.0.0.1:{server.port}" in runner.said()


def test_status_is_the_programs_own_when_it_ends_before_it_serves(
    programs: Programs, server: RegistryServer
) -> None:
    runner = programs.run([], sys.executable, "-c", "raise SystemExit(7)")
    assert runner.wait() == 7
    assert "the program ended with status 7 before it accepted connections" in runner.said()
    assert server.requests == []


def test_wrong_token_is_said_and_the_program_serves(programs: Programs) -> None:
    moreton = [sys.executable, "-m", "moreton.cli.main", "run", "--service", "catalogue"]
    runner = programs.start(*moreton, "--", *serving(programs), MORETON_TOKEN="wrong")
    runner.wait_said("the token is wrong; send the right one")
    assert runner.process.poll() is None
