"""A Redis inside this process: fakeredis, spoken to in Redis's own protocol over pairs of sockets.

So the service's clients run unchanged, the blocking ones and those of asyncio alike, and nothing
leaves the process. fakeredis runs the Lua scripts by lupa, and blocks for BRPOP, which is why each
connection has a thread. Only `testing` imports it.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from typing import Any
from uuid import uuid4

import lupa  # noqa: F401  # without it, fakeredis has no scripts
import redis
from fakeredis import FakeServer
from fakeredis._commands import Signature
from fakeredis._helpers import SimpleError, SimpleString
from fakeredis._socket import FakeSocket

#: fakeredis has no INFO; scripts and callers ask for these lines of it.
INFO = b"# Server\r\nrun_id:%s\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n"
_INFO_SIGNATURE = Signature("info", "info", (), (bytes,))  # type: ignore[arg-type]

#: When this was imported. What stops time.time leaves this clock alone, mostly.
_BEGAN, _BEGAN_MONOTONIC, _monotonic = time.time(), time.monotonic(), time.monotonic

#: What redis-py sends at most at once is larger; the parser keeps what is incomplete.
RECEIVE_BYTES = 65_536


class FakeRedis:
    """One empty Redis; `dial` connects to it. Threads share it."""

    def __init__(self) -> None:
        self._server = _Server(version=(7,))
        self._lock = threading.Lock()
        self._ends: dict[socket.socket, threading.Thread] = {}

    def dial(self) -> socket.socket:
        """A new connection: the client's end of it."""
        ours, theirs = socket.socketpair()
        thread = threading.Thread(
            target=self._serve, args=(ours,), name="local-llm-fake-redis", daemon=True
        )
        with self._lock:
            self._ends[ours] = thread
        thread.start()
        return theirs

    def close(self) -> None:
        """Break all connections and wait for their threads."""
        with self._lock:
            left = dict(self._ends)
        for end in left:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._server.lock:
            for session in self._server.sockets:
                session._unblock_reason = b"timeout"  # as CLIENT UNBLOCK does
            for database in self._server.dbs.values():
                database.condition.notify_all()
        for thread in left.values():
            thread.join(timeout=5)

    def _serve(self, end: socket.socket) -> None:
        session = _Session(self._server, end)
        try:
            while received := end.recv(RECEIVE_BYTES):
                session.sendall(received)
        except OSError:
            pass
        finally:
            session.close()
            end.close()
            with self._lock:
                self._ends.pop(end, None)


class _Server(FakeServer):
    """The data of one Redis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.run_id = uuid4().hex.encode()


class _Session(FakeSocket):
    """One client's connection as fakeredis sees it; replies go out as RESP2."""

    _server: _Server

    def __init__(self, server: _Server, end: socket.socket) -> None:
        self._end, self._lock = end, threading.Lock()
        self._unsent, self._is_sending = bytearray(), False
        super().__init__(server, 0, client_class=redis.Redis, client_info={"protocol_version": 2})

    def info(self, *_: bytes) -> bytes:
        """The reply to INFO."""
        return INFO % self._server.run_id

    def time(self) -> list[bytes]:
        """The reply to TIME, which goes on where a test has stopped the clock: jobs wait for it."""
        now = _BEGAN + _monotonic() - _BEGAN_MONOTONIC
        return [b"%d" % now, b"%d" % (now % 1 * 1_000_000)]

    def _name_to_func(self, cmd_name: str) -> Any:
        if cmd_name == "info":
            return self.info, _INFO_SIGNATURE
        return super()._name_to_func(cmd_name)

    def _get_server_runtime(self, server: Any) -> Any:
        """Lua as Redis has it: with `redis.sha1hex`."""
        is_new = not hasattr(server, "_lua_runtime")
        runtime = super()._get_server_runtime(server)
        if is_new:
            runtime.eval("function(sha1hex) redis.sha1hex = sha1hex end")(_sha1hex)
        return runtime

    def _decode_result(self, result: Any) -> Any:
        """Leave a reply as it is: `put_response` writes it in the protocol."""
        return result

    def put_response(self, msg: Any) -> None:
        """Send a reply; another client's thread does so for what that client publishes.

        Never blocks, as Redis never does: a client may send more before it reads.
        """
        with self._lock:
            self._unsent += resp2(msg)
            if self._is_sending:
                return
            with contextlib.suppress(OSError):  # full, or broken: then the rest is of no use
                del self._unsent[: self._end.send(self._unsent, socket.MSG_DONTWAIT)]
            if not self._unsent:
                return
            self._is_sending = True
        threading.Thread(target=self._send_rest, name="local-llm-fake-redis", daemon=True).start()

    def _send_rest(self) -> None:
        while True:
            with self._lock:
                rest = bytes(self._unsent)
                self._unsent.clear()
                self._is_sending = bool(rest)
            if not rest:
                return
            with contextlib.suppress(OSError):
                self._end.sendall(rest)


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text).hexdigest().encode()


def resp2(reply: Any) -> bytes:
    """A reply in the protocol of Redis, version 2."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, SimpleError):
        words = " ".join(reply.value.split())  # one line, as the protocol has it
        return b"-%s\r\n" % words.encode()
    if isinstance(reply, SimpleString):
        value = reply.value
        return b"+%s\r\n" % (value.encode() if isinstance(value, str) else value)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list | tuple):
        return b"*%d\r\n" % len(reply) + b"".join(map(resp2, reply))
    text = reply if isinstance(reply, bytes) else str(reply).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)
