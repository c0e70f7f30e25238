"""The thread of a process that finds results for all who wait in it, over one connection.

It listens on the channel of each job that somebody waits for. What is published while the
connection is broken is not heard, so it reads all results when it is made anew, and every few
seconds anyway. Celery's own consumer hangs or fails for all waiting threads when Redis restarts,
and shares its connection with forked children.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import redis

from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.listening.bell import Bell
from local_llm_service.worker.listening.ear import ThreadEar
from local_llm_service.worker.listening.interests import BATCH, Interests
from local_llm_service.worker.listening.line import SILENCE_SECONDS, Away, Line
from local_llm_service.worker.listening.sleepers import ThreadSleeper
from local_llm_service.worker.listening.wait import Wait
from local_llm_service.worker.store.calls import drive
from local_llm_service.worker.store.connection import connect, open_connection
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.moves import look
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.store import process_store

logger = logging.getLogger(__name__)


class ThreadListener:
    """Serves the waits of one process on one Redis; threads share it. A fork begins anew."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.url = url
        self._keys = keys
        self._begin()
        _LISTENERS.add(self)

    def _begin(self) -> None:
        """The state of a process that has not waited yet; nothing of a parent's is touched."""
        self._lock = threading.Lock()
        self._interests, self._line = Interests(self._keys), Line()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._bell: Bell | None = None
        self._is_closed = False

    # --- callers -----------------------------------------------------------------------------

    @contextmanager
    def wait(self, task_ids: Iterable[str]) -> Iterator[Wait[ThreadSleeper]]:
        """Look for these results until the end of the `with`."""
        wait, interests = Wait(self, task_ids, ThreadSleeper()), self._interests
        ids = set(wait.missing)
        interests.begin(wait)
        self._ring()
        try:
            yield wait
        finally:
            interests.end(wait, ids)

    @contextmanager
    def hear(self, channels: Iterable[str]) -> Iterator[ThreadEar]:
        """Hear these channels until the end of the `with`; see ear.py."""
        ear = ThreadEar(self, self._change, ThreadSleeper())
        ear.listen_to(channels)
        try:
            yield ear
        finally:
            ear.listen_to(())

    def _change(self, ear: Any, fresh: set[str], gone: set[str]) -> None:
        self._interests.change(ear, fresh, gone)
        if fresh or gone:
            self._ring()

    def away(self, patience: float = SILENCE_SECONDS) -> Away | None:
        """What is known of a Redis that is away; None when it is there.

        `patience`: seconds that it may take to answer.
        """
        return self._line.away(patience)

    def look_soon(self, task_id: str | None = None) -> None:
        """Look at a job again, at all without an id: somebody could not reach Redis."""
        if task_id is None:
            self._line.look_soon()
        else:
            self._interests.look_at(task_id)
        with self._lock:
            if self._bell is not None:
                self._bell.ring()

    def close(self) -> None:
        """End the thread and its connection; a wait that goes on is served no more."""
        with self._lock:
            thread, self._is_closed = self._thread, True
            if self._bell is not None:
                self._bell.ring()
        if thread is not None:
            thread.join(timeout=5)

    def leave_to_the_parent(self) -> None:
        """Begin as a forked child."""
        if self._bell is not None:
            self._bell.close()
        self._begin()

    def _ring(self) -> None:
        """Tell the thread that somebody wants something else; it starts where there is none."""
        with self._lock:
            if self._bell is None and self._interests.are_none:
                return
            if self._bell is None:
                self._bell = Bell()
                self._thread = threading.Thread(
                    target=self._run, args=(self._bell,), name="result-listener", daemon=True
                )
                self._thread.start()
            self._bell.ring()

    # --- the thread --------------------------------------------------------------------------

    def _run(self, bell: Bell) -> None:
        while not (self._is_closed and self._ends(bell)):
            try:
                self._connect(bell)
                self._listen(bell)
                return
            except (redis.RedisError, OSError, ValueError) as error:
                pause = self._lose(bell, error)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                # Whatever it is: others wait, too.
                logger.critical("result listener: unexpected %s", type(error).__name__)
                pause = self._lose(bell, error)
            bell.sleep(pause)

    def _connect(self, bell: Bell) -> None:
        """Connect, and ask for everything that somebody waits for."""
        self._connection = open_connection(self.url)
        self._interests.forget_subscriptions()
        self._line.asks()
        self._connection.connect()
        bell.watch(self._connection._sock)
        self._subscribe()
        self._look(self._interests.all_channels())
        self._line.is_made()

    def _lose(self, bell: Bell, error: Exception) -> float:
        """Close the connection and tell everybody; nothing of it is used again."""
        connection, self._connection = self._connection, None
        pause = self._line.is_lost(error)
        bell.watch(None)
        self._close(connection)
        self._interests.redis_is_away()
        return pause

    def _listen(self, bell: Bell) -> None:
        """Serve until nobody has waited for a while. Raises redis-py's errors, and OSError."""
        line, interests = self._line, self._interests
        while True:
            channels = self._subscribe() | self._hear()
            if line.poll_is_due():
                channels = interests.all_channels()
            self._look(channels)
            is_over = self._is_closed or line.is_idle(wanted=not interests.are_none)
            if is_over and self._ends(bell):
                return
            if line.ping_is_due():
                self._ask_for_a_sign()
            bell.sleep(line.rest_seconds)

    def _ends(self, bell: Bell) -> bool:
        with self._lock:
            if not (self._is_closed or self._interests.are_none):
                return False
            connection, self._connection = self._connection, None
            self._line.is_closed()
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
        self._line.asks()
        self._connection.send_command("PING", check_health=False)

    def _subscribe(self) -> set[str]:
        """Ask Redis to tell what somebody wants; returns the channels to look at now."""
        commands, begun = self._interests.subscriptions()
        for command, channels in commands:
            self._connection.send_command(command, *channels, check_health=False)
        return begun

    def _hear(self) -> set[str]:
        """Read what Redis has told by now; returns the channels to look at."""
        channels: set[str] = set()
        while self._connection.can_read(0):
            reply = self._connection.read_response()
            self._line.is_there()
            if channel := self._interests.read(reply):
                channels.add(channel)
        return channels

    def _look(self, channels: Iterable[str]) -> None:
        """Read these results and hand them to those who wait. Raises redis-py's errors."""
        ids = self._interests.look(channels)
        if not ids:
            return
        scripts = Scripts(connect(self.url), self._keys)
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            self._line.asks()
            found = drive(look(some), scripts.answer)
            self._line.is_there()
            for task_id, seen in zip(some, found, strict=True):
                self._interests.looked_up(task_id, seen)


_LISTENERS: weakref.WeakSet[ThreadListener] = weakref.WeakSet()


@lru_cache(maxsize=1)
def process_listener() -> ThreadListener:
    """The listener on this process's REDIS_URL."""
    return ThreadListener(lazy_settings().redis_url, process_store().keys)


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
