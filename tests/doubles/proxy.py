"""A TCP proxy that goes silent, like a firewall that forgets its connections, or cuts a reply."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading

from tests.doubles.serving import cut_off

CHUNK = 65536


class Proxy:
    """Starts with `with Proxy(port) as proxy`; clients connect to `proxy.port` on 127.0.0.1.

    A connection that is open when the proxy goes silent never carries a byte again, and neither
    side is told. With `tls` clients have to speak TLS, which the target does not see.
    """

    def __init__(self, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target_port, self._tls = target_port, tls
        self._silent = threading.Event()
        self._lost: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._cut_after: bytes | None = None
        self._cut: set[asyncio.StreamWriter] = set()
        #: How many connections were attempted during a silence.
        self.tries_in_silence = 0

    def __enter__(self) -> Proxy:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        cut_off(self._server, self._loop, self._thread)

    def go_silent(self) -> None:
        """Carry nothing on existing or new connections."""

        async def lose() -> None:
            self._silent.set()
            self._lost |= self._open

        asyncio.run_coroutine_threadsafe(lose(), self._loop).result(5)

    def recover(self) -> None:
        """Serve new connections."""
        self._silent.clear()

    def cut_reply_to(self, words: bytes) -> None:
        """Pass on the next request that contains `words`, and break the connection at its reply."""
        self._cut_after = words

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if self._silent.is_set():
            self.tries_in_silence += 1
            self._lost.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                await asyncio.gather(
                    self._pump(reader, back, writer), self._pump(there, writer, writer)
                )
            finally:
                back.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            self._lost.discard(writer)
            self._cut.discard(writer)
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        connection: asyncio.StreamWriter,
    ) -> None:
        """Carry bytes one way until they end; a lost connection does not pass on the end."""
        while data := await source.read(CHUNK):
            if sink is connection and connection in self._cut:
                break
            if self._cut_after is not None and self._cut_after in data:
                self._cut_after = None
                self._cut.add(connection)
            if connection not in self._lost:
                sink.write(data)
                await sink.drain()
        if connection in self._lost:
            await asyncio.Event().wait()
        raise ConnectionResetError
