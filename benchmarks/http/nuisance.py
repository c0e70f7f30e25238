"""The process of those who are a nuisance: idle connections, readers of a byte a second, and one
who sends a gigabyte and begins anew each second.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

from benchmarks.dedupe.child import serve

GIGABYTE = 1_000_000_000
BLOCK = b"x" * 262_144


class Nuisance:
    """All of them, in a thread with a loop of its own, until the end."""

    def __init__(self, port: int, task_id: str, idle: int, slow: int) -> None:
        self._port, self._task_id, self._idle, self._slow = port, task_id, idle, slow
        self.found = {"refused": 0, "megabytes": 0.0, "bytes_read": 0}
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._all(),))

    def begin(self) -> None:
        """Return when all are connected."""
        self._thread.start()
        self._ready.wait(30)

    def end(self) -> None:
        """Hang up."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _all(self) -> None:
        idle = [await self._connect() for _ in range(self._idle)]
        slow = [asyncio.create_task(self._read_slowly()) for _ in range(self._slow)]
        large = asyncio.create_task(self._send_gigabytes())
        self._ready.set()
        await self._over.wait()
        for task in (*slow, large):
            task.cancel()
        await asyncio.gather(*slow, large, return_exceptions=True)
        for writer in idle:
            writer.transport.abort()

    async def _connect(self) -> asyncio.StreamWriter:
        return (await asyncio.open_connection("127.0.0.1", self._port))[1]

    async def _read_slowly(self) -> None:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.setblocking(False)
            await self._loop.sock_connect(plain, ("127.0.0.1", self._port))
            path = f"/v1/jobs/{self._task_id}/events"
            await self._loop.sock_sendall(
                plain, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            while await self._loop.sock_recv(plain, 1):
                self.found["bytes_read"] += 1
                await asyncio.sleep(1)

    async def _send_gigabytes(self) -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            head = (
                f"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {GIGABYTE}\r\n\r\n"
            )
            writer.write(head.encode())
            with suppress(ConnectionError):
                for _ in range(GIGABYTE // len(BLOCK)):
                    writer.write(BLOCK)
                    await writer.drain()
                    self.found["megabytes"] += len(BLOCK) / 1e6
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(100), 1)
            self.found["refused"] += 1
            writer.transport.abort()
            await asyncio.sleep(1)


there: list[Nuisance] = []


def begin(port: int, task_id: str, idle: int, slow: int) -> None:
    """Let them come."""
    there.append(Nuisance(port, task_id, idle, slow))
    there[-1].begin()


def end() -> dict[str, float]:
    """Let them go; returns what they have done."""
    there[-1].end()
    return there.pop().found


if __name__ == "__main__":
    serve({"begin": begin, "end": end})
