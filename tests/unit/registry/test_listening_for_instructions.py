"""Whoever runs a program hears what is asked of it, also of a control plane that just starts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from moreton.kernel.places import Finder
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import SystemClock
from moreton.registry import Instance, InstanceId
from moreton.registry.client.instructions import Listener, report
from moreton.registry.client.wire import Api, Offer
from moreton.registry.client.worker import Worker
from moreton.registry.core.heartbeat import Confirmed
from moreton.registry.core.instructions import Action, Instruction, Phase, to_document
from moreton.registry.core.standing import InstanceState
from support.waits import join_all

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = Instruction(Action.RESTART, token="t", asked=NOW, since=NOW)
# A pause after what will not change lasts 15 s at least.
SECONDS_MAX = 8.0


class Starting(ThreadingHTTPServer):
    """It cannot answer at first; then it has one instruction, and takes reports.

    It closes the connection after every answer, as a control plane does that ends.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.refusals = 1
        self.reports: list[str] = []
        self.questions: list[str] = []


class Answering(BaseHTTPRequestHandler):
    server: Starting

    def do_GET(self) -> None:
        self.server.questions.append(self.path)
        self._answer(to_document(ASKED))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refusals <= 0:  # first this: the answer ends the test
            self.server.reports.append(json.loads(body)["phase"])
        self._answer({})

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self, document: object) -> None:
        is_refused = self.server.refusals > 0
        self.server.refusals -= 1
        body = json.dumps({"code": "store-closed"} if is_refused else document).encode()
        self.send_response(503 if is_refused else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Starting]:
    with Starting() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        join_all([thread])


@pytest.fixture
def worker(server: Starting) -> Worker:
    instance = Instance(InstanceId("1"), "shop", "127.0.0.1", 80)
    offer = Offer(instance, known_address=True, ttl=timedelta(seconds=5))
    made = Worker(offer, clock=SystemClock(), rng=seeded_rng("listening"))
    finder = Finder(api=f"http://127.0.0.1:{server.server_port}", token="made-up")
    made.new_api = lambda: Api(finder)
    return made


def test_instruction_is_heard_soon_after_an_answer_that_none_can_be_given(
    server: Starting, worker: Worker
) -> None:
    heard = threading.Event()
    listener = Listener(worker, lambda _: heard.set())
    listener.start()
    assert heard.wait(SECONDS_MAX)
    listener.stop()
    assert server.refusals < 0, "it was refused first"


def test_question_names_the_revision_of_the_first_registration(
    server: Starting, worker: Worker
) -> None:
    for revision in (7, 9):
        worker.wake(SystemClock().now())
        worker.next_request()
        worker.answered(Confirmed(timedelta(seconds=5), revision), SystemClock().now())
        worker.restate(InstanceState.DRAINING)
    heard = threading.Event()
    listener = Listener(worker, lambda _: heard.set())
    listener.start()
    assert heard.wait(SECONDS_MAX)
    listener.stop()
    assert "&since=7" in server.questions[0]


def test_report_that_could_not_be_taken_is_told_again(server: Starting, worker: Worker) -> None:
    report(worker, "t.1", Phase.STARTING)
    assert server.reports == [Phase.STARTING.value]
