"""What the scripted model servers share: raw HTTP/1.1 on a loopback port, in a thread of its own.

Raw sockets let a test break a body off, hang, or see when a client hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Seen:
    """One request as the server saw it; `closed_at` is set when the client hung up early."""

    body: dict[str, Any]
    began_at: float
    headers: dict[str, str] = field(default_factory=dict)
    finished: bool = False
    closed_at: float | None = None


@dataclass(frozen=True)
class Heard:
    """The parts of one request; header names are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    def json(self) -> dict[str, Any]:
        """The body, an object."""
        read = json.loads(self.content)
        assert isinstance(read, dict)
        return read


@dataclass
class WireServer(ABC):
    """Starts with `with ... as server`; afterwards the port is free for it to start again."""

    port: int = field(default=0, kw_only=True)
    #: How many connections have been made.
    connections: int = field(default=0, kw_only=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    async def answer(
        self, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; says whether the connection serves another."""

    def start(self) -> None:
        """Listen, on the same port as before if the server ran already."""
        self._loop = asyncio.new_event_loop()
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, sock=listening)
        )
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut off every connection, as a killed server does."""
        cut_off(self._server, self._loop, self._thread)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        # Go's server sets this too. asyncio does not set it on a socket that it was given, and
        # each streamed answer on a kept connection would take 40 ms longer.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while await self.answer(await _heard(reader), reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            # Reset the connection, so that the client sees a break and not an orderly end.
            with contextlib.suppress(OSError):
                writer.transport.abort()


async def _heard(reader: asyncio.StreamReader) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head.rstrip().split("\r\n")
    method, path, _ = line.split(" ")
    pairs = (one.partition(":") for one in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    if "chunked" in head.lower():
        content = await reader.readuntil(b"\r\n0\r\n\r\n")
    return Heard(method, path, headers, content)


async def watched(
    seen: Seen, reader: asyncio.StreamReader, play: Coroutine[Any, Any, bool]
) -> bool:
    """Play an answer until it ends or its client hangs up, and note which."""
    gone = asyncio.ensure_future(reader.read(1))
    answer = asyncio.ensure_future(play)
    try:
        await asyncio.wait({gone, answer}, return_when=asyncio.FIRST_COMPLETED)
        # The client has gone when its stream ends or a write fails.
        if not answer.done() or isinstance(answer.exception(), ConnectionError):
            seen.closed_at = time.monotonic()
            return False
        seen.finished = True
        return answer.result() and not gone.done()
    finally:
        for task in (gone, answer):
            task.cancel()
        await asyncio.gather(gone, answer, return_exceptions=True)


def plain(writer: Any, status: int, body: object, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Write a whole answer in JSON; a `body` of bytes goes out as it is."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json; charset=utf-8\r\n{more}"
        f"Content-Length: {len(text)}\r\n\r\n".encode()
        + text
    )


def chunk(writer: Any, content: bytes) -> None:
    """Write one chunk of a chunked body; an empty one ends the body."""
    writer.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")


def cut_off(
    server: asyncio.Server, loop: asyncio.AbstractEventLoop, thread: threading.Thread
) -> None:
    """Close `server`, end all that runs in its loop, and end the loop and its `thread`."""

    async def close() -> None:
        # A connection that was just accepted has its task a little later. Before that it cannot be
        # ended: neither a closed server nor a task that never ran closes its socket.
        for listening in server.sockets:
            loop.remove_reader(listening)
        await _let_begin()
        server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _let_begin()

    asyncio.run_coroutine_threadsafe(close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


async def _let_begin() -> None:
    for _ in range(5):  # rounds of the loop from accept to the first step of a connection's task
        await asyncio.sleep(0)
