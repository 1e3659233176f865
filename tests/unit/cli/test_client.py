"""The commands' client among several nodes, each a real HTTP server."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moreton.cli.client import Api, ApiRefused, ApiUnreachable, state_folder
from moreton.controlplane.cluster.home import Home, Peer
from moreton.controlplane.errors import NotRunning
from moreton.controlplane.state_folder import StateFolder
from moreton.kernel.places import Place
from support.certificates import make_certificate
from support.waits import join_all


class Node:
    """Answers every request with *status* and its own name, and counts them."""

    def __init__(self, name: str, status: int = 200, tls: Path | None = None) -> None:
        node = self
        self.requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                node.requests.append(f"{self.command} {self.path}")
                body = json.dumps({"name": name, "detail": "the store is away"}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.answer()

            def do_PUT(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
            # By the handlers: a client that says nothing would hold up the server.
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"


@contextlib.contextmanager
def running(*nodes: Node) -> Iterator[None]:
    threads = [threading.Thread(target=node.server.serve_forever, args=(0.01,)) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for node in nodes:
            node.server.shutdown()
            node.server.server_close()
        join_all(threads)


def nobody() -> Place:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return Place(f"http://127.0.0.1:{probe.getsockname()[1]}")


def test_next_node_is_asked_when_one_is_away_and_first_from_then_on() -> None:
    one, other = Node("one"), Node("other")
    with running(one, other):
        gone = nobody()
        api = Api([gone, Place(one.url), Place(other.url)], "token")
        assert api.call("PUT", "/v1/x", {}) == {"name": "one", "detail": "the store is away"}
        assert api.url == one.url
        api.get("/v1/y")
        assert one.requests == ["PUT /v1/x", "GET /v1/y"]
        assert other.requests == []


def test_node_without_its_store_is_left_for_one_that_has_it() -> None:
    cut_off, other = Node("one", 503), Node("other")
    with running(cut_off, other):
        api = Api([Place(cut_off.url), Place(other.url)], "token")
        assert api.call("PUT", "/v1/x", {})["name"] == "other"
        assert cut_off.requests == ["PUT /v1/x"]


def test_last_nodes_word_counts_when_none_can_help() -> None:
    cut_off, other = Node("one", 503), Node("other", 503)
    with running(cut_off, other):
        api = Api([Place(cut_off.url), Place(other.url)], "token")
        with pytest.raises(ApiRefused, match="the store is away") as caught:
            api.get("/v1/x")
        assert caught.value.status == 503
        assert other.requests == ["GET /v1/x"]


def test_word_of_a_node_without_its_store_counts_more_than_silence() -> None:
    cut_off = Node("one", 503)
    with running(cut_off), pytest.raises(ApiRefused, match="the store is away"):
        Api([Place(cut_off.url), nobody()], "token").get("/v1/x")


def test_refusal_is_an_answer_and_is_not_asked_for_twice() -> None:
    strict, other = Node("one", 409), Node("other")
    with running(strict, other), pytest.raises(ApiRefused):
        Api([Place(strict.url), Place(other.url)], "token").call("PUT", "/v1/x", {})
    assert other.requests == []


def test_all_addresses_are_named_when_nobody_answers() -> None:
    one, other = nobody(), nobody()
    with pytest.raises(ApiUnreachable, match=f"{one.url}, {other.url} does not answer"):
        Api([one, other], "token").get("/v1/x")


def test_post_that_was_sent_is_not_sent_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, running(other := Node("other")):

        def hang_up() -> None:
            connection, _ = mute.accept()
            with connection:
                connection.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        api = Api([Place(f"http://127.0.0.1:{mute.getsockname()[1]}"), Place(other.url)], "t")
        with pytest.raises(ApiUnreachable):
            api.call("POST", "/v1/x", {"large": "x" * 1000})
        join_all([thread])
        assert other.requests == []


def test_other_nodes_are_found_in_the_state_folder_and_known_by_their_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MORETON_API", raising=False)
    state = tmp_path / ".moreton"
    state.mkdir()
    config = tmp_path / "moreton.yaml"
    with pytest.raises(NotRunning):
        Api.find(config)
    make_certificate(tmp_path, "node.test")
    known, stranger = Node("known", tls=tmp_path), Node("stranger", tls=tmp_path)
    peer = Peer("b", known.url, (tmp_path / "cert.pem").read_text())
    Home("id", "cluster", (peer,)).write(state)
    (state / "token").write_text("secret\n")
    with running(known, stranger):
        assert Api.find(config).get("/v1/x")["name"] == "known"
        Home("id", "cluster", (Peer("b", stranger.url),)).write(state)
        with pytest.raises(ApiUnreachable, match="certificate verify failed"):
            Api.find(config).get("/v1/x")


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "ftp://127.0.0.1:1"])
def test_what_is_no_address_is_nobody_who_answers(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MORETON_API", url)
    api = Api.find(tmp_path / "moreton.yaml")
    with pytest.raises(ApiUnreachable, match=f"the control plane at {url} does not answer"):
        api.get("/v1/x")
    with pytest.raises(ApiUnreachable), api.stream("/v1/x"):
        pass


def test_address_may_leave_the_scheme_away_as_in_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = Node("one")
    monkeypatch.setenv("MORETON_API", node.url.removeprefix("http://") + "/")
    with running(node):
        assert Api.find(tmp_path / "moreton.yaml").get("/v1/x")["name"] == "one"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"state: [", b"- state", b"controlplane: state"])
def test_state_folder_is_the_usual_one_when_the_file_does_not_say(
    content: bytes, tmp_path: Path
) -> None:
    config = tmp_path / "moreton.yaml"
    config.write_bytes(content)
    assert state_folder(config) == tmp_path / ".moreton"


def test_control_plane_that_starts_is_waited_for_and_somebody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MORETON_API", raising=False)
    folder = StateFolder.hold(tmp_path / ".moreton")
    folder.token()
    # Of the one before it, which was killed.
    (tmp_path / ".moreton" / "controlplane.json").write_text('{"pid": 1, "api": "http://gone"}')
    with pytest.raises(NotRunning, match="only starts"):
        Api.find(tmp_path / "moreton.yaml", waits=False)
    found: list[Api] = []
    thread = threading.Thread(target=lambda: found.append(Api.find(tmp_path / "moreton.yaml")))
    thread.start()
    told = ""
    while thread.is_alive() and "waiting for it" not in told:
        told += capsys.readouterr().err
        thread.join(0.01)
    folder.announce("http://127.0.0.1:7400")
    join_all([thread])
    folder.release()
    assert told == "the control plane starts: waiting for it\n"
    assert [each.url for each in found] == ["http://127.0.0.1:7400"]


def test_control_plane_that_may_begin_is_waited_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MORETON_API", raising=False)
    config = tmp_path / "moreton.yaml"
    config.write_text("version: 1")
    found: list[Api] = []
    thread = threading.Thread(target=lambda: found.append(Api.find(config)))
    thread.start()
    folder = StateFolder.hold(tmp_path / ".moreton")
    folder.token()
    folder.announce("http://127.0.0.1:7400")
    join_all([thread])
    folder.release()
    assert [each.url for each in found] == ["http://127.0.0.1:7400"]
