"""Several processes that serve one listening socket; one that dies is replaced.

The parent imports, checks, listens and forks; after that it only looks after its children. They end
when it does, however it ends: they hold the other end of a pipe that only the parent keeps open.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from local_llm_service.tasks.outcome import place_of
from local_llm_service.worker.log_output import drain_output

logger = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: A process that dies sooner than this after its start is replaced only then.
SHORT_LIFE_SECONDS = 1.0


class Processes:
    """Runs `serve` in so many forked processes; its argument is the pipe's end to watch."""

    def __init__(self, count: int, serve: Callable[[int], None], end_seconds: float) -> None:
        self._count, self._serve, self._end_seconds = count, serve, end_seconds
        self._children: dict[int, float] = {}
        self._told: list[int] = []

    def run(self) -> int:
        """Serve until a signal says to end, and return its number.

        All processes get SIGTERM then, and SIGKILL after `end_seconds` or a second signal.
        """
        self._watched, self._kept = os.pipe()
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, self._hear)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        gc.freeze()  # so that collections in the children copy no pages of the parent's
        for _ in range(self._count):
            self._start()
        while not self._told:
            self._wait(1.0)
            self._replace()
        self._end()
        return self._told[0]

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._told.append(number)

    def _wait(self, seconds: float) -> None:
        """Return after so long, or when a signal has arrived."""
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 512)

    def _start(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_a_child()
        self._children[pid] = time.monotonic()

    def _be_a_child(self) -> None:
        """Serve, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (*ENDING, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends Ctrl-C to all processes, and the parent tells its children itself.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for end in (self._kept, self._woken, self._waker):
                os.close(end)
            self._serve(self._watched)
            code = 0
        except BaseException as error:  # noqa: BLE001  # an edge: it must not go on as a parent
            if isinstance(error, Exception):
                logger.error("an HTTP process failed: %s", place_of(error))
        finally:
            sys.stdout.flush()
            drain_output()
            os._exit(code)

    def _reap(self) -> dict[int, int]:
        """Pid and status of the children that have ended."""
        ended = {}
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)
        return ended

    def _replace(self) -> None:
        for pid, code in self._reap().items():
            lived = time.monotonic() - self._children.pop(pid)
            logger.error("HTTP process %d ended with %d; another one starts", pid, code)
            if lived < SHORT_LIFE_SECONDS:
                time.sleep(SHORT_LIFE_SECONDS - lived)
            if not self._told:
                self._start()

    def _end(self) -> None:
        self._tell(signal.SIGTERM)
        last = time.monotonic() + self._end_seconds
        while self._children:
            for pid in self._reap():
                del self._children[pid]
            if self._children:
                self._wait(0.2)
                if len(self._told) > 1 or time.monotonic() > last:
                    self._tell(signal.SIGKILL)

    def _tell(self, number: int) -> None:
        for pid in self._children:
            os.kill(pid, number)  # it is our child until it has been waited for
