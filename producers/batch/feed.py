"""Reads a source on a thread of its own, so that a slow pipe or database holds up no answer."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from local_llm_service.producers.batch.lines import Line, Source

#: What is read ahead at most; one line is always allowed.
AHEAD_LINES: Final = 500
AHEAD_BYTES: Final = 8 * 1024 * 1024


class Feed:
    """Lines that have been read and wait. Made in the event loop that takes them.

    `wake` is called in that loop when there is something to take, or the end has come.
    """

    def __init__(self, source: Source, wake: Callable[[], None]) -> None:
        self._source, self._wake = source, wake
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Line] = deque()
        self._bytes = 0
        self._room = threading.Condition()
        self._read_all = self._closed = False
        self._error: BaseException | None = None
        # It may sit in a read from a pipe for ever; then the process ends without it.
        self._thread = threading.Thread(target=self._read, name="llm-batch-feed", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether every line was taken. Then `error` says why the input broke, if it did."""
        with self._room:
            return self._read_all and not self._waiting

    @property
    def error(self) -> BaseException | None:
        """What ended the reading before the end of the input."""
        return self._error

    def take(self) -> Line | None:
        """The next line, in the order of the input; None when there is none now."""
        with self._room:
            if not self._waiting:
                return None
            line = self._waiting.popleft()
            self._bytes -= len(line.text or b"")
            self._room.notify()
            return line

    def close(self) -> None:
        """Read no further."""
        with self._room:
            self._closed = True
            self._room.notify()

    def _read(self) -> None:
        try:
            for line in self._source.lines():
                if not self._keep(line):
                    return
        except BaseException as error:  # noqa: BLE001  # whoever takes the lines gets it
            self._error = error
        with self._room:
            self._read_all = True
        self._tell()

    def _keep(self, line: Line) -> bool:
        """Put one line where it can be taken, once there is room; False when nobody will."""
        with self._room:
            self._room.wait_for(lambda: self._closed or self._has_room())
            if self._closed:
                return False
            self._waiting.append(line)
            self._bytes += len(line.text or b"")
            is_first = len(self._waiting) == 1
        if is_first:
            self._tell()
        return True

    def _has_room(self) -> bool:
        return len(self._waiting) < AHEAD_LINES and self._bytes < AHEAD_BYTES

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody takes lines any more
            self._loop.call_soon_threadsafe(self._wake)
