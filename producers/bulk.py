"""Many calls of one kind, a bounded number at a time: the logic of both clients' `map`.

Pure: what is asked of Redis are calls (worker/store/calls.py). A driver reads the items, because
the caller's iterator may block, or has to be awaited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Any

import redis

from local_llm_service.producers.asks import Ask
from local_llm_service.producers.bulk_items import arguments_of
from local_llm_service.producers.bulk_window import Outcome, Window, window_for
from local_llm_service.producers.job_core import JobCore, JobFacts, submitting, task_of
from local_llm_service.producers.result_wait import Site, decoded, not_found, reaching
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    InvalidRequest,
    QueueFull,
    ServiceError,
)
from local_llm_service.worker.listening.ear import Ear, Heard
from local_llm_service.worker.listening.interests import BATCH
from local_llm_service.worker.listening.patience import AWAY_SECONDS
from local_llm_service.worker.listening.wait import GONE_SECONDS
from local_llm_service.worker.store.calls import Calls, Rest
from local_llm_service.worker.store.moves import look
from local_llm_service.worker.store.presence import workers

#: Between two looks at how many slots the workers have.
SLOTS_SECONDS = 10.0
#: Until a call that a full queue or an absent Redis refused is tried again.
AGAIN_SECONDS = 1.0
#: The longest sleep, so that a bulk call notices a Redis that is away.
LONGEST_SLEEP_SECONDS = 1.0
#: An item whose job Redis has lost so often is a failure.
TIMES_LOST_MOST = 3


class Step(Enum):
    """What a driver has to do: read one more item, or end."""

    READ = "read"
    END = "end"


@dataclass
class _Waiting:
    """An item that is to be submitted, from a time on (monotonic seconds)."""

    index: int
    ask: Ask[Any]
    at: float = 0.0
    #: How often it was submitted and Redis lost the job.
    times_lost: int = 0


@dataclass
class _Running:
    """An item's job, which has no outcome yet, and since when Redis does not know it."""

    item: _Waiting
    job: JobFacts[Any]
    gone_since: float | None = None


class Bulk:
    """One bulk call at one site. `check_map` has admitted its arguments."""

    def __init__(
        self, site: Site, kind: str, options: Mapping[str, Any], window: int | None, ordered: bool
    ) -> None:
        self._site, self._kind, self._options = site, task_of(kind).kind, options
        self._window = Window(window or window_for(0), ordered=ordered)
        #: When to read the number of slots: never where the caller has chosen the window.
        self._slots_at = float("inf") if window else 0.0
        #: By the channel on which its result is announced.
        self._running: dict[str, _Running] = {}
        self._waiting: deque[_Waiting] = deque()
        self._is_reading, self._is_over = False, False
        self._error: BaseException | None = None
        self._was_reached = False
        self._away_since: float | None = None

    # --- a driver that was told to READ ------------------------------------------------------

    def give(self, item: object) -> None:
        """Take the item that was read."""
        self._is_reading = False
        arguments = {**self._options, **arguments_of(self._kind, item)}
        ask = Ask[Any](self._kind.name, None, arguments, {})
        self._waiting.append(_Waiting(self._window.begin(), ask))

    def finish(self, error: BaseException | None = None) -> None:
        """There are no more items, or reading one has failed."""
        self._is_reading, self._is_over, self._error = False, True, error

    # --- the logic ---------------------------------------------------------------------------

    def step(self, ear: Ear[Any]) -> Calls[Step | tuple[int, Outcome]]:
        """Go on until there is something to do, or to yield: an item's index and its outcome.

        `ear` belongs to this call. After READ, wake its sleeper when the item was given. Raises
        BrokerUnreachable, and the error of `finish`.
        """
        while True:
            if self._error is not None:
                raise self._error
            yield from self._follow_slots()
            if self._waiting and self._waiting[0].at <= monotonic():
                yield from self._submit(self._waiting[0], ear)
            elif self._wants_item:
                self._is_reading = True
                return Step.READ
            elif (found := self._window.next()) is not None:
                return found
            elif self._is_over and not self._waiting and not self._running:
                return Step.END
            else:
                yield from self._hear(ear)

    @property
    def _wants_item(self) -> bool:
        is_free = not self._waiting and not self._is_reading and not self._is_over
        return is_free and self._window.has_room

    def _follow_slots(self) -> Calls[None]:
        now = monotonic()
        if self._slots_at > now:
            return
        self._slots_at = now + SLOTS_SECONDS
        try:
            there = yield from reaching(self._site, workers(self._site.moves.keys))
        except BrokerUnreachable:
            if not self._was_reached:
                raise
        else:
            self._window.size = window_for(sum(worker.slots for worker in there))

    def _submit(self, item: _Waiting, ear: Ear[Any]) -> Calls[None]:
        item.at = monotonic() + AGAIN_SECONDS
        try:
            job = yield from submitting(self._site, item.ask)
        except QueueFull:
            return
        except BrokerUnreachable:
            if self._is_away_for_good():
                raise
            return
        except InvalidRequest as error:
            self._waiting.popleft()
            self._window.end(item.index, error)
            return
        self._waiting.popleft()
        self._was_reached, self._away_since = True, None
        channel = self._site.moves.keys.announced(job.task_id)
        if job.result is not None:
            yield from self._end(_Running(item, job))
        elif channel in self._running:
            self._window.end(item.index, InvalidRequest("task_id: an earlier item has it"))
        else:
            self._running[channel] = _Running(item, job)
            ear.listen_to(self._running)

    def _is_away_for_good(self) -> bool:
        """Whether Redis did not answer from the start, or has been away for too long."""
        now = monotonic()
        self._away_since = self._away_since or now
        return not self._was_reached or now - self._away_since > AWAY_SECONDS

    def _hear(self, ear: Ear[Any]) -> Calls[None]:
        """Hear of one result, or look for all, or sleep."""
        heard: Heard = yield from ear.hearing(0)
        if heard is None:
            at = self._waiting[0].at if self._waiting else float("inf")
            seconds = min(at - monotonic(), LONGEST_SLEEP_SECONDS)
            yield Rest(ear.sleeper, max(0.0, seconds))
            return
        if not isinstance(heard, bytes):
            yield from self._look(list(self._running.values()))
        elif running := self._running.get(ear.channel):
            yield from self._look([running])  # what is heard is not believed
        ear.listen_to(self._running)

    def _look(self, some: Sequence[_Running]) -> Calls[None]:
        """Look for the results of these. The ear knows whether Redis is away for too long."""
        with suppress(redis.RedisError):
            for start in range(0, len(some), BATCH):
                batch = some[start : start + BATCH]
                found = yield from look([running.job.task_id for running in batch])
                for running, seen in zip(batch, found, strict=True):
                    if seen.result is not None:
                        yield from self._found(running, seen.result)
                    elif seen.is_known:
                        running.gone_since = None
                    else:
                        self._is_gone(running)

    def _is_gone(self, running: _Running) -> None:
        """Submit an item again whose job Redis has lost, as a Redis that was killed may."""
        now = monotonic()
        running.gone_since = running.gone_since or now
        if now - running.gone_since < GONE_SECONDS:
            return
        item = running.item
        item.times_lost += 1
        if item.times_lost >= TIMES_LOST_MOST:
            self._keep(running, not_found())
            return
        self._running.pop(self._channel(running), None)
        item.at = 0.0
        self._waiting.append(item)

    def _found(self, running: _Running, text: str) -> Calls[None]:
        meta = decoded(text)
        if meta is not None:
            running.job.result = meta
            yield from self._end(running)

    def _end(self, running: _Running) -> Calls[None]:
        """Read the result that is there."""
        try:
            self._keep(running, (yield from JobCore(self._site, running.job).result(0)))
        except ServiceError as error:
            self._keep(running, error)

    def _keep(self, running: _Running, outcome: Outcome) -> None:
        self._running.pop(self._channel(running), None)
        self._window.end(running.item.index, outcome)
        if self._waiting:
            self._waiting[0].at = 0.0  # its queue may have room now

    def _channel(self, running: _Running) -> str:
        return self._site.moves.keys.announced(running.job.task_id)
