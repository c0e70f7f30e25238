"""A listener between a worker and a real engine that records requests, chunks and closing times.

A real engine keeps no log of its requests; the tap writes one and passes every byte on unchanged.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

_JOB = re.compile(rb"job=([0-9a-f-]{36}) ")
_READ_BYTES = 65536


@dataclass
class Passage:
    """One request for a job; times are in seconds of the monotonic clock."""

    job: str
    began: float
    chunks: list[float] = field(default_factory=list)
    ended: float | None = None


class Tap:
    """In `with Tap(port) as tap`, clients connect to `tap.host`, not to the engine on `port`."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.seen: list[Passage] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.host = ""

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._accept, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(5)
        self.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        current: list[Passage] = []
        pumps = {
            asyncio.ensure_future(self._ask(reader, up_writer, current)),
            asyncio.ensure_future(self._answer(up_reader, writer, current)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in current:
                one.ended = one.ended or time.monotonic()
            for pump in pumps:
                pump.cancel()
            for end in (writer, up_writer):
                with suppress(OSError):
                    end.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, current: list[Passage]
    ) -> None:
        kept = b""
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                kept += data
                if found := _JOB.search(kept):
                    current.append(Passage(found[1].decode(), time.monotonic()))
                    self.seen.append(current[-1])
                    kept = b""
                writer.write(data)
                await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, current: list[Passage]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if current and b'"content"' in data:
                    current[-1].chunks.append(time.monotonic())
                if current and b'"done":true' in data:
                    current.pop().ended = time.monotonic()
                writer.write(data)
                await writer.drain()
