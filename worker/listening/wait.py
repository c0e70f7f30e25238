"""A caller's wait for results: how long it lasts, and what ends it.

A listener finds the results. A wait reads nothing from Redis, so that its own timeout holds however
long Redis takes. What a result says is read by the caller alone: one that cannot be read harms no
other wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Generic, TypeVar

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.listening.patience import Watch, end_of, why_too_late
from local_llm_service.worker.listening.sleepers import ThreadSleeper, WakeableSleeper
from local_llm_service.worker.store.states import JobState, Seen

#: A longer sleep than the platform's threads know would be an error; news wakes the caller anyway.
LONGEST_SLEEP_SECONDS = 60.0

#: There is no such job when there was none for so long.
GONE_SECONDS = 2.0

S = TypeVar("S", bound=WakeableSleeper)


class NoResult(Exception):
    """The time of a wait is over, and Redis is there."""


class Wait(Generic[S]):
    """One call's wait for the results of `task_ids`, which a listener serves."""

    def __init__(self, watch: Watch, task_ids: Iterable[str], sleeper: S) -> None:
        self._watch, self.sleeper = watch, sleeper
        #: Those whose result has not come.
        self.missing = set(task_ids)
        #: Those that Redis was not asked for yet.
        self._unseen = set(self.missing)
        self._found: deque[tuple[str, str]] = deque()
        #: The state of each job at the last look.
        self.states: dict[str, JobState | None] = {}
        #: Those that Redis did not know at the last look, and when it did not for the first time.
        self._unknown: dict[str, tuple[float, float]] = {}

    # --- the listener ------------------------------------------------------------------------

    def looked_up(self, task_id: str, seen: Seen) -> None:
        """Hand over what a look into Redis has found."""
        self._unseen.discard(task_id)
        self.states[task_id] = seen.state
        if seen.result is not None:
            self._found.append((task_id, seen.result))
        if seen.is_known:
            self._unknown.pop(task_id, None)
        else:
            now = monotonic()
            first, _ = self._unknown.get(task_id, (now, now))
            self._unknown[task_id] = first, now
        if seen.result is not None or not seen.is_known or not self._unseen:
            self.sleeper.wake()

    def redis_is_away(self) -> None:
        """Let the caller decide anew when to give up."""
        self.sleeper.wake()

    # --- the caller --------------------------------------------------------------------------

    def take(self) -> tuple[str, str] | None:
        """The next result that has come, with its id; what wakes the sleeper from now on is new."""
        self.sleeper.clear()
        return self._found.popleft() if self._found else None

    def done(self, task_id: str) -> None:
        """Wait no longer for this job."""
        self.missing.discard(task_id)

    def end(self, began: float, timeout: float | None, now: float) -> float:
        """When to give up, see `patience.end_of`."""
        seen = not self._unseen
        return end_of(self._watch, seen=seen, began=began, timeout=timeout, now=now)

    def too_late(self, timeout: float | None) -> Exception:
        """What to raise then: NoResult, or BrokerUnreachable where Redis is away."""
        why = why_too_late(self._watch, seen=not self._unseen)
        return why or NoResult(f"no result within {timeout} s")

    def unknown_since(self, task_id: str) -> float | None:
        """Since when Redis has not known a job, as far as it was asked; None where it does."""
        return self._unknown[task_id][0] if task_id in self._unknown else None

    def is_gone(self, task_id: str) -> bool:
        """Whether two looks with GONE_SECONDS between them have not found a job.

        One that was sent by name has no record until a worker collects it, within a second.
        """
        first, last = self._unknown.get(task_id, (0.0, 0.0))
        return last - first >= GONE_SECONDS


def results(
    wait: Wait[ThreadSleeper],
    watch: Watch,
    began: float,
    timeout: float | None,
    on_interval: Callable[[], object] | None = None,
    interval: float = 1.0,
) -> Iterator[tuple[str, str]]:
    """Each result as it comes, until none is missing: the caller says so by `Wait.done`.

    Raises NoResult `timeout` seconds (None: never) after `began`; where Redis is away then,
    BrokerUnreachable. That also comes when Redis was never reached within REACH_SECONDS, and
    without a timeout when it is away for AWAY_SECONDS. `on_interval` is called every `interval`
    seconds.
    """
    tick_at = began + interval
    while wait.missing:
        if found := wait.take():
            yield found
            continue
        now = monotonic()
        end = wait.end(began, timeout, now)
        if end <= now:
            raise wait.too_late(timeout)
        if on_interval is not None and tick_at <= now:
            _tick(watch, on_interval)
            tick_at = monotonic() + interval
        until = min(end, now + LONGEST_SLEEP_SECONDS)
        until = until if on_interval is None else min(until, tick_at)
        wait.sleeper.sleep(max(0.0, until - monotonic()))


def _tick(watch: Watch, on_interval: Callable[[], object]) -> None:
    """Call back; what a callback reads from Redis must not end the wait while that is away."""
    if watch.away() is not None:
        return
    try:
        on_interval()
    except BrokerUnreachable:
        watch.look_soon()
