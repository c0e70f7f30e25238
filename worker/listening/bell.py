"""Wakes the listener's thread while it waits for its socket."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress


class Bell:
    """Wakes a thread that sleeps until there is something to read on a socket."""

    def __init__(self) -> None:
        self._end, self._other = socket.socketpair()
        self._end.setblocking(False)
        self._other.setblocking(False)
        self._watched: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._end, selectors.EVENT_READ)

    def ring(self) -> None:
        """End the sleep, or the next one."""
        with suppress(BlockingIOError):  # it is full of rings
            self._other.send(b"1")

    def watch(self, watched: socket.socket | None) -> None:
        """Wake up for this socket from now on, and for no other."""
        if self._watched is not None:
            self._selector.unregister(self._watched)
        self._watched = watched
        if watched is not None:
            self._selector.register(watched, selectors.EVENT_READ)

    def sleep(self, seconds: float) -> None:
        """Sleep until the bell rings or there is something to read; `seconds` at most."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._end:
                with suppress(BlockingIOError):
                    self._end.recv(4096)

    def close(self) -> None:
        """End it."""
        self._selector.close()
        self._end.close()
        self._other.close()
