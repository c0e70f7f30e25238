"""Where the sockets of new connections to Redis come from, in a process whose Redis is replaced.

As in tests of a caller's code (`testing`), where none may reach a Redis. connection.py asks here
for each pool that it makes; usually there is nothing, and addresses are dialled.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import redis

#: A stand-in breaks its connections and never falls silent: a reply that is late comes from a busy
#: machine.
PATIENT_SECONDS = 30.0

#: Makes the client's end of a new connection, a Unix socket.
Dial = Callable[[], socket.socket]

_dial: Dial | None = None


def dial_instead(dial: Dial | None) -> Dial | None:
    """Let `dial` make all sockets from now on (None: dial the addresses); return what did."""
    global _dial
    before, _dial = _dial, dial
    return before


def dialled() -> dict[str, Any]:
    """What a pool of connections is given beside the address; nothing where that is dialled.

    A stand-in for Redis speaks RESP2.
    """
    return {} if _dial is None else {"connection_class": DialledConnection, "protocol": 2}


def dialled_async() -> dict[str, Any]:
    """The same for a pool of redis.asyncio."""
    return {} if _dial is None else {"connection_class": _async_class(), "protocol": 2}


class DialledConnection(redis.Connection):
    """A connection over a socket that `dial_instead` has named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.socket_timeout = PATIENT_SECONDS

    def _connect(self) -> socket.socket:
        made = _dialled_socket()
        made.settimeout(self.socket_timeout)
        return made


@lru_cache(maxsize=1)
def _async_class() -> type:
    # Imported here: few processes have an event loop.
    import asyncio

    from redis.asyncio import Connection

    class AsyncDialledConnection(Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.socket_timeout = self.socket_timeout and PATIENT_SECONDS

        async def _connect(self) -> None:
            made = _dialled_socket()
            self._reader, self._writer = await asyncio.open_unix_connection(sock=made)

    return AsyncDialledConnection


def _dialled_socket() -> socket.socket:
    if _dial is None:  # of a client that has outlived its stand-in: no other Redis for it
        raise redis.ConnectionError("the stand-in for Redis is gone")
    return _dial()
