"""Shows how far a run is: a bar on a terminal (rich, the extra `batch`), plain lines in a pipe."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from local_llm_service.producers.batch.run import End, Run
from local_llm_service.producers.batch.summary import duration

#: Seconds between two plain lines, and between two looks of the bar.
LINE_SECONDS, BAR_SECONDS = 10.0, 0.25
#: The speed that is shown is that of the last so many seconds.
SPEED_SECONDS: Final = 60.0


class Progress(Protocol):
    """Shows a run."""

    def show(self, run: Run) -> None:
        """Show it, if it is time; called a few times a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Pace:
    """How fast lines end, and how long the rest will take. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int, float | None]] = deque()

    def note(self, run: Run) -> None:
        """Look at a run."""
        now = self._clock()
        ended = run.records.run.answered + run.records.run.failed
        self._seen.append((now, ended, run.part))
        while now - self._seen[0][0] > SPEED_SECONDS:
            self._seen.popleft()

    def lines_a_minute(self) -> float:
        """Of the last minute; 0 before two looks."""
        (begin, first, _), (now, last, _) = self._seen[0], self._seen[-1]
        return (last - first) * 60 / (now - begin) if now > begin else 0.0

    def seconds_left(self) -> float:
        """By the part of the input that is read; nan where nobody can know."""
        known = [(at, part) for at, _, part in self._seen if part is not None]
        if len(known) < 2:
            return math.nan
        (begin, first), (now, last) = known[0], known[-1]
        return (1 - last) * (now - begin) / (last - first) if last > first else math.nan


def numbers(run: Run, pace: Pace) -> str:
    """One line about a run."""
    total, records = run.records.total, run.records
    parts = [
        f"{total.answered:,} done",
        f"{records.failed_now:,} failed",
        f"{total.cached:,} cached",
    ]
    if total.tokens_saved:
        parts.append(f"{total.tokens_saved:,} tokens saved")
    parts.append(f"{pace.lines_a_minute():,.0f} lines a minute")
    parts.append(f"{run.in_flight} of {run.window.size} in flight")
    if records.skipped:
        parts.append(f"{records.skipped:,} were done before")
    return "  ".join(parts)


def remark(run: Run) -> str:
    """What holds a run up, or why it ends; "" while nothing does."""
    if run.window.is_blind or run.asker.troubles["broker_unreachable"]:
        return "Redis is away: waiting"
    if run.asker.troubles["queue_full"]:
        return "the queue is full: waiting"
    if run.end not in (None, End.INPUT):
        return f"{run.end.value}: collecting what is in flight" if run.end else ""
    if opening := run.hours.opening():
        return f"waiting until {opening:%H:%M}"
    if run.window.slots == 0:
        return "no worker takes jobs: waiting"
    return ""


class PlainLines:
    """A line every ten seconds, and one when something holds the run up."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._pace, self._noted, self._said = Pace(clock), -math.inf, ""
        self._next = clock() + LINE_SECONDS

    def show(self, run: Run) -> None:
        """See Progress.show."""
        now = self._clock()
        if now - self._noted < 1:
            return
        self._noted = now
        self._pace.note(run)
        if (remarked := remark(run)) != self._said:
            self._said = remarked
            self._say(remarked or "going on")
        if now >= self._next:
            self._next = now + LINE_SECONDS
            left = self._pace.seconds_left()
            rest = "" if math.isnan(left) else f"  {duration(left)} left"
            self._say(f"{numbers(run, self._pace)}{rest}")

    def close(self) -> None:
        """See Progress.close."""


class Bar:
    """A bar with the numbers below it. Raises ImportError without rich."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        self._clock, self._pace, self._noted = clock, Pace(clock), -math.inf
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, run: Run) -> None:
        """See Progress.show."""
        now = self._clock()
        if now - self._noted < BAR_SECONDS:
            return
        self._noted = now
        self._pace.note(run)
        with suppress(OSError):  # the terminal has gone
            self._live.update(self._drawn(run), refresh=True)

    def close(self) -> None:
        """See Progress.close."""
        with suppress(OSError):
            self._live.stop()

    def _drawn(self, run: Run) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        part, left = run.part, self._pace.seconds_left()
        beside = "" if part is None else f"{part:4.0%}"
        if not math.isnan(left):
            beside += f"  {duration(left)} left"
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=1, completed=part or 0.0, width=40, pulse=part is None), Text(beside)
        )
        below = [Text(numbers(run, self._pace))]
        if remarked := remark(run):
            below.append(Text(remarked, style="yellow"))
        return Group(row, *below)
