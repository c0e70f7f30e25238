"""A caller's own server, which is told of ends of jobs: it keeps what it got."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Got:
    """One request. Names of headers are in small letters."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What is answered; `held`: only once this is set. `endless`: a body without an end."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    held: threading.Event | None = None
    endless: bool = False


class Receiver(ThreadingHTTPServer):
    """Answers 204, or what `answers` holds, in its order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Got] = []
        self.answers: deque[Answer] = deque()
        #: Set when a client has closed the connection in the middle of an endless body.
        self.closed = threading.Event()

    @property
    def host(self) -> str:
        """Its address and port, as WEBHOOK_ALLOW names them."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """Where it is told."""
        return f"http://{self.host}/told?by=us"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append(Got(self.path, headers, body))
        with suppress(IndexError):
            return self._answer(self.server.answers.popleft())
        return self._answer(Answer())

    def _answer(self, answer: Answer) -> None:
        if answer.held is not None:
            answer.held.wait(20)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not answer.endless:
            self.send_header("Content-Length", "0")
        self.end_headers()
        try:
            while answer.endless:
                self.wfile.write(b"x" * 65_536)
        except OSError:
            self.server.closed.set()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiver(certificate: str = "") -> Iterator[Receiver]:
    """A receiver that runs until the end of the block; with TLS if it has a certificate and key."""
    server = Receiver()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
