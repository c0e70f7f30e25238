"""Connections that are slow, too large, too many or no HTTP end soon, and are told why."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from local_llm_service.producers.http import bounded_connection, server
from local_llm_service.testing import LocalLLM
from tests.conftest import wait_until
from tests.http.conftest import HttpSite, http_site

BODY = json.dumps({"prompt": "a"}).encode()


@pytest.fixture
def quick(local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpSite]:
    """HTTP that has less patience."""
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(bounded_connection, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(bounded_connection, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(bounded_connection, "UNREAD_SECONDS", 0.2)
    with http_site() as site:
        yield site


class Wire:
    """A socket to the service."""

    def __init__(self, site: HttpSite) -> None:
        port = int(site.url.rpartition(":")[2])
        self.socket = socket.create_connection(("127.0.0.1", port), 10)

    def send(self, text: bytes) -> Wire:
        self.socket.sendall(text)
        return self

    def has_come(self) -> bool:
        """Whether the service has sent something."""
        return bool(select.select([self.socket], [], [], 0.01)[0])

    def rest(self) -> bytes:
        """All that comes until the service closes the connection."""
        found = b""
        while data := self.socket.recv(65_536):
            found += data
        return found


Open = Callable[[HttpSite], Wire]


@pytest.fixture
def wire() -> Iterator[Open]:
    """Open sockets, which are closed with the test."""
    with ExitStack() as exits:

        def connect(site: HttpSite) -> Wire:
            made = Wire(site)
            exits.enter_context(made.socket)
            return made

        yield connect


def head(*headers: str, length: int = len(BODY)) -> bytes:
    lines = ["POST /generate HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def told(reply: bytes) -> tuple[int, str]:
    """Status, and the message of the body, which every error has."""
    start, _, body = reply.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert b"application/problem+json" in start
    assert problem["status"] == int(start.split()[1])
    return problem["status"], problem["error"]["message"]


# --- time ---------------------------------------------------------------------------------------


def test_headers_that_do_not_come_to_an_end(quick: HttpSite, wire: Open) -> None:
    status, message = told(wire(quick).send(b"POST /generate HTTP/1.1\r\nHost: loc").rest())
    assert (status, "headers" in message) == (408, True)


def test_a_connection_that_says_nothing(quick: HttpSite, wire: Open) -> None:
    assert told(wire(quick).rest())[0] == 408


def test_a_body_that_drips(quick: HttpSite, wire: Open) -> None:
    """Each byte is progress, and yet it would hold the connection for ever."""
    slow = wire(quick).send(head(length=1000))
    wait_until(lambda: slow.send(b" ").has_come(), "a reply", 5)
    assert told(slow.rest())[0] == 408


def test_a_slow_body_in_time(quick: HttpSite, wire: Open) -> None:
    slow = wire(quick).send(head("Connection: close"))
    for byte in BODY:
        slow.send(bytes([byte]))
    assert b" 200 OK" in slow.rest()


def test_a_reader_that_has_stopped(
    quick: HttpSite, wire: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint, or its stream, and the connection end."""

    async def many() -> list[dict[str, str]]:
        return [{"name": "x" * 20_000_000}]

    monkeypatch.setattr(quick.app.service, "models", many)
    stopped = wire(quick).send(b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(stopped.has_come, "it begins to reply")
    wait_until(lambda: not quick.connections(), "the connection ends")
    assert len(stopped.rest()) < 20_000_000, "the rest is thrown away"


# --- size and number ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [70_000, 400_000])
def test_headers_that_are_too_large(http: HttpSite, wire: Open, size: int) -> None:
    assert told(wire(http).send(head(f"X-Filler: {'x' * size}")).rest())[0] == 431


def test_a_header_without_an_end(http: HttpSite, wire: Open) -> None:
    """The parser keeps it to itself until it ends."""
    endless = wire(http).send(head()[:-4] + b"\r\nX-Filler: ")
    wait_until(lambda: endless.send(b"x" * 10_000).has_come(), "a reply", 5)
    assert told(endless.rest())[0] == 431


@pytest.mark.local_llm(settings={"max_body_bytes": 1024})
@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_that_is_too_large(http: HttpSite, has_length: bool) -> None:
    """The client sends all of it before it reads, as most do, and sees why it was refused."""
    body = b"x" * 5_000_000
    content = body if has_length else iter([body])
    assert http.post("/generate", content=content).status_code == 413
    assert http.get("/health/live").status_code == 200


def test_a_body_that_is_far_too_large(
    http: HttpSite, wire: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connection, "LINGER_BYTES", 1_000_000)
    large = wire(http).send(head(length=1_000_000_000))
    with pytest.raises(ConnectionError):
        large.send(b"x" * 200_000_000)


def test_too_many_connections(http: HttpSite, wire: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connection, "MAX_CONNECTIONS", 2)
    held = [wire(http), wire(http)]
    wait_until(lambda: len(http.connections()) == 2, "both are there")
    held.append(wire(http))
    status, message = told(held[-1].rest())
    assert (status, "connections" in message) == (503, True)
    for one in held:
        one.socket.close()
    wait_until(lambda: not http.connections(), "they have gone")
    assert http.get("/health/live").status_code == 200


# --- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\nno\r\n\r\n"])
def test_what_is_no_http(http: HttpSite, wire: Open, text: bytes) -> None:
    assert told(wire(http).send(text).rest())[0] == 400


def test_an_offer_of_http_2_keeps_its_body(http: HttpSite, wire: Open, local_llm: LocalLLM) -> None:
    """As Java's own client and `curl --http2` send it; the body was lost, and the reply a 400."""
    local_llm.reply("Yes.")
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    kept = wire(http).send(head(*offer) + BODY)
    wait_until(kept.has_come, "a reply")
    assert b'"text":"Yes."' in kept.socket.recv(65_536)
    assert b" 200 OK" in kept.send(head("Connection: close") + BODY).rest(), "it goes on"
