"""A real Redis of the test run's own, over a Unix socket; emptied before each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from local_llm_service.testing.stand_in import StandIn
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

_SOCKET = "redis.sock"


@contextmanager
def embedded() -> Iterator[StandIn]:
    """Start it. Raises EmbeddedUnavailable where there is no redis-server."""
    with RedisProcess(extra=("--unixsocket", _SOCKET, "--unixsocketperm", "700")) as server:
        path = str(server.directory / _SOCKET)

        def connect() -> socket.socket:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.connect(path)
            return made

        yield StandIn(connect)


def empty(redis: StandIn) -> None:
    """Forget all data and scripts."""
    with redis.dial() as connection:
        connection.settimeout(5)
        for command in (b"FLUSHALL\r\n", b"SCRIPT FLUSH\r\n"):
            connection.sendall(command)
            connection.recv(1024)
