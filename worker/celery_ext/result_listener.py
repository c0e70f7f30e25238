"""The thread of a process that finds results for all who wait in it, over one connection.

It listens on the channel of each job that somebody waits for, and reads the results of those that
it hears of. What is published while the connection is broken is not heard, so it reads all of them
when it is made anew, and every few seconds anyway. Celery's own consumer hangs or fails for all
waiting threads when Redis restarts, and shares its connection with forked children.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from time import monotonic
from typing import Any

import redis

from local_llm_service.worker.celery_ext.result_wait import Away, Wait
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.connection import connect, open_connection
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.store import process_store

logger = logging.getLogger(__name__)

#: Between two reads of all results that somebody waits for. The ring of a result can be lost.
POLL_SECONDS = 3.0
#: Between two signs of life that are asked for on the connection, and how late one may be.
PING_SECONDS = 1.0
SILENCE_SECONDS = 2.5
#: Pauses before the next try to connect; each is twice as long as the one before.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: Without anybody who waits, the connection is closed and the thread ends after this time.
IDLE_SECONDS = 30.0
#: Most jobs in one command.
BATCH = 500


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


class ResultListener:
    """Serves the waits of one process on one Redis; threads share it. A fork begins anew."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.url = url
        self._keys = keys
        self._begin()
        _LISTENERS.add(self)

    def _begin(self) -> None:
        """The state of a process that has not waited yet; nothing of a parent's is touched."""
        self._lock = threading.Lock()
        self._waits: dict[str, list[Wait]] = {}
        self._thread: threading.Thread | None = None
        self._away: Away | None = None
        #: Since when a reply is due from Redis.
        self._asked_at: float | None = None
        self._connection: Any = None
        self._subscribed: set[str] = set()
        #: Jobs for which a wait has begun since the thread looked here.
        self._begun: set[str] = set()
        self._look_now = False
        self._bell: Bell | None = None
        self._closed = False

    # --- callers -----------------------------------------------------------------------------

    @contextmanager
    def wait(self, task_ids: Iterable[str]) -> Iterator[Wait]:
        """Look for these results until the end of the `with`."""
        wait = Wait(self, task_ids)
        ids = sorted(wait.missing)
        with self._lock:
            for task_id in ids:
                self._waits.setdefault(task_id, []).append(wait)
            self._begun.update(ids)
            if self._bell is None:
                self._bell = Bell()
                self._thread = threading.Thread(
                    target=self._run, args=(self._bell,), name="result-listener", daemon=True
                )
                self._thread.start()
            self._bell.ring()
        try:
            yield wait
        finally:
            with self._lock:
                for task_id in ids:
                    waits = self._waits.get(task_id, [])
                    if wait in waits:
                        waits.remove(wait)
                    if not waits:
                        self._waits.pop(task_id, None)

    def away(self, patience: float = SILENCE_SECONDS) -> Away | None:
        """What is known of a Redis that is away; None when it is there.

        `patience`: seconds that it may take to answer.
        """
        away, asked_at = self._away, self._asked_at
        if away is None and asked_at is not None and monotonic() - asked_at > patience:
            return Away(asked_at, asked_at)
        return away

    def look_soon(self) -> None:
        """Read all results again: somebody could not reach Redis."""
        self._look_now = True
        with self._lock:
            if self._bell is not None:
                self._bell.ring()

    def close(self) -> None:
        """End the thread and its connection; a wait that goes on never gets its result."""
        with self._lock:
            bell, thread, self._closed = self._bell, self._thread, True
            if bell is not None:
                bell.ring()
        if thread is not None:
            thread.join(timeout=5)

    def leave_to_the_parent(self) -> None:
        """Begin as a forked child."""
        if self._bell is not None:
            self._bell.close()
        self._begin()

    # --- the thread --------------------------------------------------------------------------

    def _run(self, bell: Bell) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not (self._closed and self._ends(bell)):
            try:
                self._connect(bell)
                pause = FIRST_PAUSE_SECONDS
                self._listen(bell)
                return
            except (redis.RedisError, OSError, ValueError) as error:
                self._lose(bell, error)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                # Whatever it is: others wait, too.
                logger.critical("result listener: unexpected %s", type(error).__name__)
                self._lose(bell, error)
            bell.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def _connect(self, bell: Bell) -> None:
        """Connect and read everything that somebody waits for."""
        self._connection = open_connection(self.url)
        self._subscribed = set()
        self._asks()
        self._connection.connect()
        bell.watch(self._connection._sock)
        self._subscribe()
        self._look(self._ids())

    def _asks(self) -> None:
        """Something is sent to Redis now: it is to answer."""
        self._asked_at = self._asked_at or monotonic()

    def _is_there(self) -> None:
        self._asked_at = None
        self._away = None

    def _lose(self, bell: Bell, error: Exception) -> None:
        """Close the connection and tell everybody; nothing of it is used again."""
        connection, self._connection = self._connection, None
        now = monotonic()
        since = self._away.since if self._away else self._asked_at or now
        self._away, self._asked_at = Away(since, now, error), None
        bell.watch(None)
        self._close(connection)
        with self._lock:
            waits = {id(wait): wait for waits in self._waits.values() for wait in waits}
        for wait in waits.values():
            wait.redis_is_away()

    def _listen(self, bell: Bell) -> None:
        """Serve until nobody has waited for a while. Raises redis-py's errors, and OSError."""
        poll_at, ping_at = monotonic() + POLL_SECONDS, monotonic() + PING_SECONDS
        idle_since = monotonic()
        while True:
            rung = self._subscribe() | self._hear()
            now = monotonic()
            if poll_at <= now or self._look_now:
                self._look_now = False
                poll_at = now + POLL_SECONDS
                rung = self._ids()
            self._look(rung)
            if self._closed and self._ends(bell):
                return
            if self._subscribed:
                idle_since = now
            elif now - idle_since > IDLE_SECONDS and self._ends(bell):
                return
            if ping_at <= now:
                ping_at = now + PING_SECONDS
                self._ask_for_a_sign()
            bell.sleep(max(0.0, min(poll_at, ping_at) - monotonic()))

    def _ends(self, bell: Bell) -> bool:
        with self._lock:
            if self._waits and not self._closed:
                return False
            connection, self._connection = self._connection, None
            self._asked_at = None
            self._bell = self._thread = None
            bell.close()
        self._close(connection)
        return True

    def _close(self, connection: Any) -> None:
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()

    def _ask_for_a_sign(self) -> None:
        if self.away() is not None:
            raise redis.TimeoutError("the connection is silent")
        self._asks()
        self._connection.send_command("PING", check_health=False)

    def _ids(self) -> set[str]:
        with self._lock:
            return set(self._waits)

    def _subscribe(self) -> set[str]:
        """Listen for what somebody waits for now, and for nothing else.

        What is new is read when Redis confirms that it will tell of it: see _read. Returns those
        for which one more wait has begun, which are to be read at once.
        """
        with self._lock:
            wanted, begun = set(self._waits), self._begun
            self._begun = set()
        fresh, gone = wanted - self._subscribed, self._subscribed - wanted
        for command, ids in (("SUBSCRIBE", sorted(fresh)), ("UNSUBSCRIBE", sorted(gone))):
            for start in range(0, len(ids), BATCH):
                channels = [self._keys.announced(one) for one in ids[start : start + BATCH]]
                self._connection.send_command(command, *channels, check_health=False)
        self._subscribed = wanted
        return begun - fresh

    def _hear(self) -> set[str]:
        """The jobs that Redis has told of by now."""
        rung: set[str] = set()
        while self._connection.can_read(0):
            rung |= self._read(self._connection.read_response())
        return rung

    def _read(self, reply: Any) -> set[str]:
        """The job that a reply is about, when that is to be looked at."""
        self._is_there()
        if not isinstance(reply, list) or reply[0] not in (b"message", b"subscribe"):
            return set()
        channel = reply[1].decode(errors="replace")
        return {channel.removeprefix(self._keys.result_channel)}

    def _look(self, ids: set[str]) -> None:
        """Read these results and hand them to those who wait. Raises redis-py's errors."""
        client = connect(self.url, decoded=False)
        asked = sorted(ids)
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            self._asks()
            texts: Any = client.mget([self._keys.result(one) for one in some])
            self._is_there()
            for task_id, text in zip(some, texts, strict=True):
                with self._lock:
                    waits = list(self._waits.get(task_id, ()))
                for wait in waits:
                    wait.looked_up(task_id, text)


_LISTENERS: weakref.WeakSet[ResultListener] = weakref.WeakSet()


@lru_cache(maxsize=1)
def process_listener() -> ResultListener:
    """The listener on this process's REDIS_URL."""
    return ResultListener(lazy_settings().redis_url, process_store().keys)


def leave_process_listener() -> None:
    """End the listener of this process, if it has one: the next wait makes another."""
    if process_listener.cache_info().currsize:
        process_listener().close()
    process_listener.cache_clear()


def _begin_anew() -> None:
    """A forked child has its parent's sockets and locks, and not its thread."""
    for listener in list(_LISTENERS):
        listener.leave_to_the_parent()


os.register_at_fork(after_in_child=_begin_anew)
