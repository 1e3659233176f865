from __future__ import annotations

import pytest

from moreton.controlplane.core.plain import Part, RenewalReader, WeightsReader

LINE = "PUT /v1/services/catalogue/instances/a-1/lease HTTP/1.1\r\n"
# What http.client sends for the SDK.
HEAD = (
    "Host: 127.0.0.1:7400\r\nAccept-Encoding: identity\r\nContent-Length: 0\r\n"
    "accept: application/json\r\nuser-agent: moreton\r\nauthorization: Bearer t\r\n\r\n"
)


def read(text: str) -> tuple[str, str] | None:
    return RenewalReader(lambda given: given == b"Bearer t").read(text.encode("latin-1"))


def test_renewal_of_the_sdk_is_read() -> None:
    assert read(LINE + HEAD) == ("catalogue", "a-1")


@pytest.mark.parametrize(
    "head",
    [
        "host: x\r\nauthorization: Bearer t\r\n\r\n",
        "HOST:x\r\nAuthorization:\t Bearer t\r\nConnection: Keep-Alive\r\n\r\n",
        "Host: x\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n\r\n",
    ],
)
def test_plain_variants_are_read(head: str) -> None:
    assert read(LINE + head) == ("catalogue", "a-1")


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace("PUT", "POST"),
        LINE.replace("PUT", "put"),
        LINE.replace("1.1", "1.0"),
        LINE.replace("/v1/", "//v1/"),
        LINE.replace("a-1", "a%2D1"),
        LINE.replace("a-1", "a/1"),
        LINE.replace("a-1", "-a"),
        LINE.replace("a-1", ""),
        LINE.replace("a-1", "a" * 129),
        LINE.replace("catalogue", "Catalogue"),
        LINE.replace("catalogue", "c" * 64),
        LINE.replace("/lease", "/lease/"),
        LINE.replace("/lease", "/lease?x=1"),
        LINE.replace("/lease", "/lease#x"),
        LINE.replace(" HTTP", "  HTTP"),
        LINE.replace("\r\n", "\n"),
        " " + LINE,
        "\r\n" + LINE,
    ],
)
def test_other_first_lines_are_left_to_others(line: str) -> None:
    assert read(line + HEAD) is None


@pytest.mark.parametrize(
    "head",
    [
        HEAD[:-1],
        HEAD + "x",
        HEAD + LINE + HEAD,
        HEAD.replace("Bearer t", "Bearer u"),
        HEAD.replace("authorization", "x-authorization"),
        HEAD.replace("Content-Length: 0", "Content-Length: 00"),
        HEAD.replace("Content-Length: 0", "Content-Length: 5"),
        HEAD.replace("Content-Length: 0", "Transfer-Encoding: chunked"),
        HEAD.replace("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 0"),
        HEAD.replace("Content-Length: 0", "Content-Length : 0"),
        HEAD.replace("Content-Length: 0", "Expect: 100-continue"),
        HEAD.replace("Content-Length: 0", "Connection: close"),
        HEAD.replace("Content-Length: 0", "Connection: upgrade"),
        HEAD.replace("user-agent: moreton", "user-agent: a\r\n folded: b"),
        HEAD.replace("user-agent: moreton", "user-agent: a\nb: c"),
        HEAD.replace("user-agent: moreton", "user-agent: a\x00"),
        HEAD.replace("user-agent: moreton", "user-agent: \xe9"),
        HEAD.replace("user-agent: moreton", "user-agent:"),
        HEAD.replace("user-agent: moreton", "user-agent: " + "m" * 5000),
        HEAD.replace("authorization: Bearer t", "authorization: Bearer t\r\nAuthorization: x"),
        HEAD.replace("Host: 127.0.0.1:7400\r\n", ""),
        "\r\n",
        "",
    ],
)
def test_other_headers_are_left_to_others(head: str) -> None:
    assert read(LINE + head) is None


def test_headers_that_were_good_once_are_good_without_another_look() -> None:
    asked = []

    def is_allowed(given: bytes) -> bool:
        asked.append(given)
        return True

    reader = RenewalReader(is_allowed)
    for number in range(5):
        assert reader.read((LINE.replace("a-1", f"a-{number}") + HEAD).encode()) is not None
    assert asked == [b"Bearer t"]


def test_headers_that_are_never_the_same_take_no_room() -> None:
    reader = RenewalReader(lambda _: True)
    for number in range(5000):
        head = HEAD.replace("moreton", f"m{number}")
        assert reader.read((LINE + head).encode()) == ("catalogue", "a-1")
    assert len(reader._heads._good) <= 1024


MOVE = "PUT /v1/routes/shop.v2/weights HTTP/1.1\r\n"


def weights(
    body: str, line: str = MOVE, *, say: int | None = None, media: str = "application/json"
) -> tuple[str, dict[str, int]] | Part | None:
    length = len(body.encode()) if say is None else say
    head = HEAD.replace("Length: 0", f"Length: {length}")
    head = head.replace("accept: application/json", f"content-type: {media}")
    reader = WeightsReader(lambda given: given == b"Bearer t")
    return reader.read((line + head + body).encode())


def test_weights_are_read() -> None:
    assert weights('{"old": 90, "new": 10}') == ("shop.v2", {"old": 90, "new": 10})


@pytest.mark.parametrize("body", ["", "{", '{"old": 90'])
def test_weights_whose_end_is_on_its_way_are_waited_for(body: str) -> None:
    assert weights(body, say=20) is Part.MORE


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "",
        '{"old": 90.0}',
        '{"old": true}',
        '{"old": "90"}',
        '{"old": 2147483648}',
        '{"old": {"new": 1}}',
        '{"old": NaN}',
        '{"old": 90',
        "[" * 4000,
        '{"old": ' + "1" * 4080 + "}",
        '{"' + "o" * 4096 + '": 1}',
    ],
)
def test_other_bodies_are_left_to_others(body: str) -> None:
    assert weights(body) is None


@pytest.mark.parametrize(
    "line",
    [
        MOVE.replace("PUT", "DELETE"),
        MOVE.replace("/weights", "/weights?wait=applied"),
        MOVE.replace("shop", "sh%6Fp"),
        MOVE.replace("shop.v2", ""),
        MOVE.replace("1.1", "1.0"),
    ],
)
def test_other_lines_than_of_weights_are_left_to_others(line: str) -> None:
    assert weights('{"old": 1}', line) is None


def test_weights_with_more_behind_them_are_left_to_others() -> None:
    assert weights('{"old": 1}{"new": 1}', say=10) is None


@pytest.mark.parametrize("media", ["text/plain", "application/json; charset=utf-8"])
def test_other_types_of_weights_are_left_to_others(media: str) -> None:
    assert weights('{"old": 1}', media=media) is None


def test_weights_without_a_head_of_their_own_are_left_to_others() -> None:
    assert WeightsReader(lambda _: True).read(f"{MOVE}\r\n".encode()) is None
    assert WeightsReader(lambda _: True).read(MOVE.encode()) is None
