"""Output that never blocks: a pipe that nobody reads must not stop a slot.

A thread of its own writes what the process prints and logs. When its reader stops reading, a
bounded buffer fills, and then lines are dropped and counted, while the work goes on.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import Final, TextIO

#: Bytes that may wait for a reader, for each of stdout and stderr: minutes of a busy worker's log.
MOST_BYTES: Final = 1_048_576
#: A write follows the one before it no sooner, seconds: what comes meanwhile goes out with it, and
#: does not wake the thread. A busy process writes a thousand lines a second.
TOGETHER_SECONDS: Final = 0.02
#: How long the end of the process waits for a reader, seconds.
FLUSH_SECONDS: Final = 1.0


class LogOutput(io.TextIOBase):
    """A text stream over a file descriptor. Each write returns at once.

    What does not fit into `most_bytes` is dropped; once the reader reads again, a line says how
    many writes were lost. A descriptor that fails for good (a closed pipe, a full disk) loses what
    is written to it, and raises nothing.
    """

    def __init__(self, descriptor: int, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self._descriptor, self._most = descriptor, most_bytes
        #: Writes that were dropped since this stream was made.
        self.dropped = 0
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Start with an empty buffer and no thread: a forked child has neither lock nor thread."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = self._unsaid = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> int:
        """Keep `text` for the thread that writes it, or drop it."""
        data = text.encode("utf-8", "backslashreplace")
        if not data:
            return 0
        with self._changed:
            if self._bytes + len(data) > self._most:
                self.dropped += 1
                self._unsaid += 1
                return len(text)
            self._waiting.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._start()
            self._changed.notify_all()
        return len(text)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log-output", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending
            self._thread = None

    def drain(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is written, at most so long; return whether it is."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._waiting or self._is_writing:
                left = end - time.monotonic()
                if left <= 0 or self._thread is None or not self._thread.is_alive():
                    return False
                self._changed.wait(left)
        return True

    def flush(self) -> None:
        """Return at once: each log handler flushes after each line, and must not wait."""

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor, for whoever asks what it is."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8, in which a log can hold every name."""
        return "utf-8"

    def _run(self) -> None:
        wrote_at = 0.0
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                while not self._waiting:
                    self._changed.wait()
            time.sleep(max(0.0, wrote_at + TOGETHER_SECONDS - time.monotonic()))
            with self._changed:
                data = b"".join(self._waiting)
                self._waiting.clear()
                # What is being written still counts: a reader that stops here holds it all.
                self._is_writing = True
                lost, self._unsaid = self._unsaid, 0
            if lost:
                data += b"%d writes to this log were dropped, as nobody read it\n" % lost
            self._write_all(data)
            wrote_at = time.monotonic()
            with self._changed:
                self._bytes = sum(map(len, self._waiting))

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # somebody has made the descriptor non-blocking
                time.sleep(0.05)
            except OSError:
                with self._changed:
                    self.dropped += 1
                return


def unblock_output() -> None:
    """Let stdout, stderr and the log handlers that write to them never block this process.

    May be called again, as after Celery has set up its own handlers.
    """
    if not isinstance(sys.stderr, LogOutput):
        _take_over()
    replaced = {id(old): new for old, new in _REPLACED}
    for handler in _all_handlers():
        stream = getattr(handler, "stream", None)
        if isinstance(handler, logging.StreamHandler) and id(stream) in replaced:
            handler.setStream(replaced[id(stream)])


def drain_output(seconds: float = FLUSH_SECONDS) -> None:
    """Wait, at most so long for each, until what was printed and logged is written.

    Call it before `os._exit`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, LogOutput):
            stream.drain(seconds)


#: Each stream of the process with what has taken its place.
_REPLACED: list[tuple[TextIO, LogOutput]] = []


def _take_over() -> None:
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        original: TextIO | None = getattr(sys, f"__{name}__")
        if stream is None or stream is not original:
            continue  # closed, or captured by a test or a tool: nobody's pipe
        output = LogOutput(stream.fileno())
        _REPLACED.append((stream, output))
        setattr(sys, name, output)
        setattr(sys, f"__{name}__", output)  # Celery prints there from its signal handlers
    atexit.register(drain_output)


def _all_handlers() -> list[logging.Handler]:
    named = list(logging.root.manager.loggerDict.values())
    loggers = [logging.root, *(one for one in named if isinstance(one, logging.Logger))]
    return [handler for one in loggers for handler in one.handlers]
