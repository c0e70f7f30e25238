"""What stands in for Redis in a test: an empty one in this process, or a real one of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StandIn:
    """Makes all connections of a test; `away` breaks them. Threads share it."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect, self._process = connect, os.getpid()
        self._lock, self._is_away = threading.Lock(), False
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def dial(self) -> socket.socket:
        """A new connection.

        Raises ConnectionRefusedError while Redis is away, and RuntimeError in a forked child, where
        no worker would run its jobs.
        """
        if os.getpid() != self._process:
            raise RuntimeError("local_llm serves the process of its test, and no child of it")
        with self._lock:
            if self._is_away:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "the test keeps Redis away")
            made = self._connect()
            self._made.add(made)
        return made

    @contextmanager
    def away(self) -> Iterator[None]:
        """Break all connections, and refuse new ones until the end of the block."""
        with self._lock:
            self._is_away = True
            made = list(self._made)
        for one in made:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            with self._lock:
                self._is_away = False


@contextmanager
def fake() -> Iterator[StandIn]:
    """An empty fakeredis. Raises ModuleNotFoundError, with what to install."""
    try:
        from local_llm_service.testing.fake_redis import FakeRedis
    except ModuleNotFoundError as error:
        if str(error.name).startswith("local_llm_service"):
            raise
        raise ModuleNotFoundError(
            f"{error.name} is not installed: pip install 'local-llm-service[testing]'",
            name=error.name,
        ) from None
    server = FakeRedis()
    try:
        yield StandIn(server.dial)
    finally:
        server.close()
