"""One HTTP/1.1 connection of uvicorn, with bounds on its time, its size and its number.

uvicorn itself waits for ever for the end of a request's headers or body, and for a client that has
stopped reading. The server looks at all connections once a second (`look`): a timer for each would
cost every request something.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local_llm_service.producers.http.problems import Problem, Row
from local_llm_service.producers.http.replies import encoded
from local_llm_service.worker.errors import InvalidRequest, RateLimited

#: Seconds from a connection's start, or a request's first byte, to the end of its headers.
HEAD_SECONDS = 10.0
#: Bytes of a request's first line and headers.
MAX_HEAD_BYTES = 65_536
#: A body may take this long, and a second more for each so many bytes that have come.
BODY_SECONDS, BODY_BYTES_A_SECOND = 20.0, 4096
#: Seconds that a client may leave a full buffer of its answer unread.
UNREAD_SECONDS = 60.0
#: What a client still sends after it was refused is thrown away so long, up to so many bytes: a
#: socket that is closed with bytes unread is reset, and the client would not see its reply.
LINGER_SECONDS, LINGER_BYTES = 3.0, 32_000_000
#: Connections of one process. Each takes a file and some memory; more are told so, and closed.
MAX_CONNECTIONS = 4096

#: The name of the header by which a client offers another protocol.
_UPGRADE = re.compile(rb"\r\n[Uu][Pp][Gg][Rr][Aa][Dd][Ee](?=[ \t]*:)")


class BoundedConnection(HttpToolsProtocol):
    """A connection that ends when its client is too slow, or says too much."""

    _awaits: Literal["head", "body", "nothing"] = "head"
    _head_bytes = 0
    _body_bytes = 0
    _since = 0.0
    _unread_since: float | None = None
    _head_is_too_large = False
    #: What it sends is thrown away.
    _lingers = False

    # --- what the loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "the service has as many connections as it can serve")

    def data_received(self, data: bytes) -> None:
        """Feed the parser, as long as the head is not too large."""
        if self._lingers:
            self._throw_away(len(data))
            return
        if self._awaits != "body":
            if not self._head_bytes:
                data = _without_upgrade(data)
            self._head_bytes += len(data)
        super().data_received(data)
        # The parser keeps a header that has no end yet to itself: its size is seen only here.
        if self._awaits == "head" and self._head_bytes > MAX_HEAD_BYTES:
            self._head_is_too_large = True
            self.send_400_response("")

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is made."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """The client has read enough of it."""
        super().resume_writing()
        self._unread_since = None

    # --- what the parser calls -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request's first byte is there."""
        super().on_message_begin()
        self._awaits, self._since = "head", self.loop.time()

    def on_headers_complete(self) -> None:
        """Its headers are there. Raises ValueError, which the parser tells, for too large ones."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._head_is_too_large = True
            raise ValueError("the headers are too large")
        self._awaits, self._since, self._body_bytes = "body", self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """More of its body is there."""
        self._body_bytes += len(body)
        super().on_body(body)
        if self._body_bytes > LINGER_BYTES and not self._is_answering:
            self.transport.abort()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._awaits, self._head_bytes = "nothing", 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply has been sent, maybe before its request has come to its end."""
        super().on_response_complete()
        if self._awaits == "body":
            self._since, self._body_bytes = self.loop.time(), 0

    def send_400_response(self, msg: str) -> None:
        """Say, in place of uvicorn's `msg`, what is wrong with what the parser has refused."""
        if self._head_is_too_large:
            self._refuse(431, f"the headers have more than {MAX_HEAD_BYTES} bytes")
        else:
            self._refuse(400, "the request is not valid HTTP/1.1")

    # --- bounds --------------------------------------------------------------------------------

    def look(self, now: float, seconds: float) -> None:
        """End the connection if its client is too slow.

        `now` is the loop's time; the last look was `seconds` ago.
        """
        waited = now - self._since
        if self._unread_since is not None and now - self._unread_since > UNREAD_SECONDS:
            self.transport.abort()  # to close it would be to wait until the rest is read
        elif self._lingers or (self._awaits == "body" and not self._is_answering):
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self._awaits == "head" and not self._is_answering:
            if waited > HEAD_SECONDS:
                self._refuse(408, f"the headers did not arrive within {HEAD_SECONDS:g} s")
        elif self._awaits == "body":
            if self.flow.read_paused:
                self._since += seconds  # it is the service that takes its time
            elif waited > BODY_SECONDS + self._body_bytes / BODY_BYTES_A_SECOND:
                self._refuse(408, "the body arrived too slowly")

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int, message: str) -> None:
        """Reply in place of an endpoint, unless one has begun to, and let the connection end."""
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        self.transport.write(_reply(status, message))
        self.transport.write_eof()
        self._lingers, self._since, self._body_bytes = True, self.loop.time(), 0

    def _throw_away(self, size: int) -> None:
        self._body_bytes += size
        if self._body_bytes > LINGER_BYTES:
            self.transport.abort()


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request, without an offer to speak another protocol.

    Java's own client offers HTTP/2 with each request, as `curl --http2` does. A server may go on in
    HTTP/1.1, but the parser would take the request to be without a body.
    """
    end = data.find(b"\r\n\r\n")
    found = _UPGRADE.search(data, 0, len(data) if end < 0 else end)
    if found is None:
        return data
    return data[: found.start()] + b"\r\nx-not-upgraded" + data[found.end() :]


def _reply(status: int, message: str) -> bytes:
    """A whole reply, with the body that every error has."""
    row = Row(status, "invalid_request_error", retry=False)
    error: InvalidRequest | RateLimited = InvalidRequest(message, "Send a whole request at once.")
    if status == 503:
        row, error = Row(503, retry=True, retry_after=5), RateLimited(message)
    problem = Problem(error, row)
    body = encoded(problem.body)
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "connection": "close",
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
