"""Replies that go on: server-sent events, lines of JSON; and a client that may leave any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import StreamBroken

#: A silent stream says so often that it lives: proxies close connections that are silent.
KEEP_ALIVE_SECONDS = 15.0


def sse(data: str, *, event: str = "", id: str = "") -> bytes:  # the format's own word
    """One server-sent event. `data` has to be one line, as JSON is."""
    head = f"event: {event}\n" if event else ""
    place = f"id: {id}\n" if id else ""
    return f"{head}{place}data: {data}\n\n".encode(errors="replace")


class EventStream(Response):
    """Sends pieces as they come, and ends `pieces` when the client has gone.

    A failure of `pieces` ends the connection without its last chunk, so that the client knows.
    """

    def __init__(
        self,
        call: Call,
        pieces: AsyncIterator[bytes],
        *,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
        keep_alive: bytes = b": keep-alive\n\n",
        seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._call, self._pieces = call, pieces
        self._keep_alive, self._seconds = keep_alive, seconds
        given = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})}
        super().__init__(None, 200, given, media_type)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces. Raises RateLimited before any, and BrokerUnreachable."""
        await self._call.open_stream()
        start = {"type": "http.response.start", "status": self.status_code}
        if scope["method"] == "HEAD":
            await send({**start, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        gone = asyncio.create_task(self._call.gone())
        try:
            await send({**start, "headers": self.raw_headers})
            async for piece in self._until(gone):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._call.close_stream()

    async def _until(self, gone: asyncio.Task[None]) -> AsyncGenerator[bytes, None]:
        step: asyncio.Task[bytes] | None = None
        timeout = self._seconds if self._keep_alive else None
        try:
            while not gone.done():
                step = step or asyncio.ensure_future(anext(self._pieces))
                either = (step, gone)
                await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    done, step = step, None
                    try:
                        piece = done.result()
                    except StopAsyncIteration:
                        return
                    yield piece
                elif not gone.done():
                    yield self._keep_alive
        finally:
            if step is not None:
                step.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await step
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()


async def unbroken(
    events: AsyncIterator[StreamEvent[Any]], given: str = ""
) -> AsyncGenerator[StreamEvent[Any], None]:
    """The events of a stream for a protocol that cannot take text back.

    Where the text begins anew, it goes on after what was given, if it is the same so far; else the
    last event is a failure, StreamBroken. `given`: the text that the reader has from before.
    """
    characters, digest = len(given), blake2b(_bytes(given))
    pending: str | None = None  # the beginning of a new run, until it is as long as what was given
    async for event in events:
        if event.type == "restart":
            pending = ""
            continue
        if event.type == "text" and pending is None:
            characters += len(event.text)
            digest.update(_bytes(event.text))
            yield event
            continue
        if event.type == "text":
            pending = f"{pending}{event.text}"
            if len(pending) < characters:
                continue
        if pending is not None and event.type in ("text", "end"):
            if blake2b(_bytes(pending[:characters])).digest() != digest.digest():
                broken = StreamBroken("the text began anew, and differs from what was sent")
                yield StreamEvent("failed", offset=event.offset, error=broken)
                return
            rest, pending = pending[characters:], None
            if rest:
                characters += len(rest)
                digest.update(_bytes(rest))
                yield StreamEvent("text", rest, event.offset)
            if event.type == "text":
                continue
        yield event


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
