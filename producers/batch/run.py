"""One run of a batch: keeps a window of jobs in flight until the input, the time or the user ends.

Everything happens in one event loop; only the input is read on a thread (feed.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from local_llm_service.producers.batch.asking import Asker
from local_llm_service.producers.batch.feed import Feed
from local_llm_service.producers.batch.limits import Hours, MostFailures
from local_llm_service.producers.batch.lines import Source
from local_llm_service.producers.batch.records import LineJob, Records
from local_llm_service.producers.batch.window import Window
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import ServiceError

#: Lines that are looked at before answers are collected again.
LINES_A_TURN: Final = 200
#: The longest time without a look at clock, progress and what is to be kept.
TICK_SECONDS: Final = 0.25
#: How long the end waits for Redis to forget the last jobs. What is left goes with its lifetime.
CLEARING_SECONDS: Final = 1.0

Outcome = Answer | ServiceError


class End(Enum):
    """Why a run submits no more. All but INTERRUPTED collect what is in flight."""

    INPUT = "the input has ended"
    HOURS = "its time is over"
    FAILURES = "too many lines have failed"
    INTERRUPTED = "it was interrupted"


class Run:
    """One run. `show` is called a few times a second. `interrupt` may come from a signal."""

    def __init__(
        self,
        source: Source,
        records: Records,
        asker: Asker,
        window: Window,
        *,
        hours: Hours | None = None,
        failures: MostFailures | None = None,
        show: Callable[[Run], None] = lambda _: None,
    ) -> None:
        self.source, self.records, self.asker, self.window = source, records, asker, window
        self.hours = hours or Hours()
        self._failures, self._show = failures or MostFailures(), show
        self.end: End | None = None
        #: The part of the input that was taken, 0 to 1; None where nobody can know.
        self.part: float | None = None
        self._broken: BaseException | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._clearing: set[asyncio.Task[None]] = set()
        self._done: deque[tuple[LineJob, asyncio.Task[Outcome]]] = deque()
        self._wake = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Jobs that are sent and not yet kept."""
        return len(self._tasks) + len(self._done)

    def interrupt(self) -> None:
        """End now. What is in flight goes on, and the next run collects it."""
        self._end(End.INTERRUPTED)
        self._wake.set()

    async def run(self) -> End:
        """Run to the end and return why it ended; `broken` says what was wrong with the input.

        Raises BrokerUnsafe, NotWritten and sqlite3.Error. Whoever calls it lets `records` end.
        """
        feed = Feed(self.source, self._wake.set)
        others = [asyncio.create_task(one) for one in (self.window.follow(), self._tick())]
        try:
            while not self._is_over():
                await self._turn(feed)
            self._commit()
            if self._clearing:
                await asyncio.wait(self._clearing, timeout=CLEARING_SECONDS)
        finally:
            feed.close()
            left = (*others, *self._tasks, *self._clearing)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        assert self.end is not None
        return self.end

    async def _turn(self, feed: Feed) -> None:
        self._wake.clear()
        self._collect()
        self._look_at_limits()
        more = self._fill(feed)
        if feed.ended and self.end is None:
            self._broken = feed.error or self._too_short()
            self._end(End.INPUT)
        if self.records.is_due():
            self._commit()
        self._show(self)
        if not self._is_over():
            await asyncio.sleep(0)  # a wait for what has happened gives way to nobody
            if not more:
                await self._wake.wait()

    def _fill(self, feed: Feed) -> bool:
        """Send jobs while the window has room; True when there may be more to look at."""
        for _ in range(LINES_A_TURN):
            if self.end or not self.hours.are_open() or self.in_flight >= self.window.size:
                return False
            line = feed.take()
            if line is None:
                return False
            self.part = line.part
            try:
                line_job = self.records.look(line)
            except ServiceError as error:
                self._broken = error
                self._end(End.INPUT)
                return False
            if line_job is not None:
                self._send(line_job)
        return True

    def _too_short(self) -> ServiceError | None:
        try:
            self.records.check_the_end()
        except ServiceError as error:
            return error
        return None

    def _send(self, line_job: LineJob) -> None:
        task = asyncio.create_task(self.asker.ask(line_job))
        self._tasks.add(task)

        def ended(task: asyncio.Task[Outcome]) -> None:
            self._tasks.discard(task)
            self._done.append((line_job, task))
            self._wake.set()

        task.add_done_callback(ended)

    def _collect(self) -> None:
        """Keep what has ended. Raises what is no failure of a line."""
        while self._done:
            line_job, task = self._done.popleft()
            if task.cancelled():
                continue
            outcome = task.result()
            if isinstance(outcome, ServiceError):
                self.records.failed(line_job, outcome)
            else:
                self.records.answered(line_job, outcome)

    def _commit(self) -> None:
        if answered := self.records.commit():
            task = asyncio.create_task(self.asker.clear(answered))
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    def _look_at_limits(self) -> None:
        run = self.records.run
        if self._failures.exceeded(run.failed, run.failed + run.answered):
            self._end(End.FAILURES)
        if self.hours.are_over():
            self._end(End.HOURS)

    def _end(self, why: End) -> None:
        if self.end is None or why is End.INTERRUPTED:
            self.end = why

    def _is_over(self) -> bool:
        if self.end is End.INTERRUPTED:
            return True
        return self.end is not None and self.in_flight == 0

    @property
    def broken(self) -> BaseException | None:
        """What was wrong with the input, at which the run ended."""
        return self._broken

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._wake.set()
