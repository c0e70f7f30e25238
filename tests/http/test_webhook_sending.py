"""One try to deliver an event: to hostile targets, and with hostile answers."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.producers.http.webhooks import sending
from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.sending import Reply, send
from local_llm_service.producers.http.webhooks.target import parse_target
from tests.doubles.receiver import Answer, Receiver, receiver
from tests.http.webhook_site import (
    SETTINGS,
)

pytestmark = [pytest.mark.local_llm(settings=SETTINGS), pytest.mark.usefixtures("soon")]


def sent(url: str, allow: str, **more: Any) -> Reply:
    """One try to deliver to a URL."""
    target = parse_target(url)
    return asyncio.run(send(target, AllowList.of(allow), b"{}", {}, **more))


class Resolver:
    """A name server that gives another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str) -> list[Any]:
        self.asked += 1
        return [ip_address(one) for one in self.answers[min(self.asked, len(self.answers)) - 1]]


def test_a_name_is_looked_up_once_and_that_very_address_is_connected_to(told: Receiver) -> None:
    """A second answer, of a name server that rebinds, is never asked for."""
    url = f"http://hooks.example.com:{told.server_port}/"
    # 127.0.0.2 stands for a public address here: it is named. Nobody listens there.
    rebinds = Resolver(["127.0.0.2"], ["127.0.0.1"])
    assert sent(url, "*.example.com 127.0.0.2", resolve=rebinds) == Reply("unreachable")
    assert rebinds.asked == 1
    assert told.got == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["10.0.0.1", "169.254.169.254", "fd00:ec2::254"],
        ["64:ff9b::7f00:1"],
    ],
)
def test_a_name_of_a_private_address_is_not_told(told: Receiver, answer: list[str]) -> None:
    """Though the name is allowed, and though the address would answer."""
    url = f"http://hooks.example.com:{told.server_port}/"
    assert sent(url, "*.example.com", resolve=Resolver(answer)) == Reply("not_allowed")
    assert told.got == []


def test_only_the_open_addresses_of_a_name_are_connected_to(told: Receiver) -> None:
    """A private one beside them is left out, and one that is dead is not the last. The name stays
    in the header."""
    url = f"http://hooks.example.com:{told.server_port}/"
    resolver = Resolver(["127.0.0.3", "127.0.0.4", "::ffff:127.0.0.1"])
    assert sent(url, "*.example.com 127.0.0.4 127.0.0.1", resolve=resolver) == Reply("204", 204)
    (got,) = told.got
    assert got.headers["host"] == f"hooks.example.com:{told.server_port}"


def test_a_name_that_nobody_knows_and_a_host_that_is_no_more_allowed() -> None:
    """Each has its word."""

    async def unknown(_: str) -> list[Any]:
        raise OSError

    assert sent("http://a.example.com/", "*.example.com", resolve=unknown).code == "no_address"
    assert sent("http://a.example.com/", "", resolve=unknown).code == "not_allowed"


def test_the_environment_names_no_proxy(told: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a login: the request goes where its URL says, as it is."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert sent(told.url, "127.0.0.1").status == 204
    assert "authorization" not in told.got[0].headers


def test_a_response_is_not_read(told: Receiver) -> None:
    """Be its body without an end; the connection is closed."""
    told.answers.append(Answer(200, endless=True))
    assert sent(told.url, "127.0.0.1").status == 200
    assert told.closed.wait(5)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broken"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", "broken"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "broken"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "broken"),
        (b"HTTP/1.1 99 Odd\r\n\r\n" * 100_000, "broken"),
        (b"", "broken"),
        (b"HTTP/1.1 2", "timeout"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "timeout"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "101"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", "202"),
        (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n\0\0", "101"),
        (b"HTTP/1.1 100 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n\0", "broken"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\nmore", "200"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", "200"),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n", "429"),
    ],
)
def test_whatever_answers_ends_the_try(says: bytes, code: str) -> None:
    """A server of something else, one that says too much, and one that says too little."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(says)
        if code == "timeout":
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended.set()

    async def test() -> Reply:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = parse_target(f"http://127.0.0.1:{port}/")
        seconds = 0.2 if code == "timeout" else 10
        reply = await send(target, AllowList.of("127.0.0.1"), b"{}", {}, try_seconds=seconds)
        server.close()
        await ended.wait()
        return reply

    ended = asyncio.Event()
    reply = asyncio.run(test())
    assert reply.code == code
    assert reply.retry_after_seconds == (7.0 if code == "429" else 0.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of hooks.example.com, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "made.pem"
    name = ["-subj", "/CN=hooks", "-addext", "subjectAltName=DNS:hooks.example.com"]
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-keyout", str(made), "-out", str(folder / "cert.pem")]
    subprocess.run([*words, "-nodes", "-days", "2", *files, *name], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "cert.pem").read_text())
    return made


def test_a_certificate_has_to_be_that_of_the_name(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name, not the address, is what TLS verifies; an unknown certificate is none."""
    with receiver(str(certificate)) as told:
        where = Resolver(["127.0.0.1"])
        port = told.server_port

        def reply(host: str) -> str:
            allow = "*.example.com 127.0.0.1"
            return sent(f"https://{host}:{port}/", allow, resolve=where).code

        assert reply("hooks.example.com") == "tls"
        trusting = ssl.create_default_context(cafile=certificate.with_name("cert.pem"))
        monkeypatch.setattr(sending, "tls_context", lambda: trusting)
        assert reply("hooks.example.com") == "204"
        assert reply("other.example.com") == "tls"
        assert reply("127.0.0.1") == "tls"
