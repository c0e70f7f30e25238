"""The process that holds many streams open, each over a socket of its own, and reads them."""

from __future__ import annotations

import asyncio
import json

from benchmarks.dedupe.child import serve

loop = asyncio.new_event_loop()
streams: dict[str, asyncio.StreamReader] = {}
writers: list[asyncio.StreamWriter] = []


async def _open_one(port: int, task_id: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/jobs/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], head
    await reader.readuntil(b"\n\n")  # the first event, the job's state
    streams[task_id] = reader
    writers.append(writer)


async def _open(port: int, ids: list[str]) -> None:
    for start in range(0, len(ids), 50):
        await asyncio.gather(*(_open_one(port, one) for one in ids[start : start + 50]))


async def _read() -> dict[str, str]:
    texts = await asyncio.gather(*(_all(reader) for reader in streams.values()))
    return dict(zip(streams, texts, strict=True))


async def _all(reader: asyncio.StreamReader) -> str:
    found, event = "", ""
    async for raw in reader:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            if event == "text":
                found += json.loads(line.removeprefix("data: "))["text"]
            elif event != "status":
                return found if event == "done" else event
    return "cut off"


def open_all(port: int, ids: list[str]) -> int:
    """Open a stream of each job; returns their number when all have begun."""
    loop.run_until_complete(_open(port, ids))
    return len(streams)


def read() -> dict[str, str]:
    """Read all at once to their ends; returns each text."""
    return loop.run_until_complete(_read())


if __name__ == "__main__":
    serve({"open": open_all, "read": read})
