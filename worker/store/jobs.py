"""Every move of a job in Redis, each one Lua script (scripts/), and the record that tells of it.

    queued ──► running ──► succeeded | failed | cancelled
     ▲  ▲        │ │
     │  └ joined ◄┘ │      (another job with the same fingerprint runs)
     └─── deferred ◄┘      (retries, countdown)

The record beside message and answer serves `status`, makes a repeated task id one job, and carries
deadline, counts and the fence token of who holds the message. Scripts use Redis's own clock, so
hosts need not agree on the time. No request or answer text in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.scripts import Scripts

if TYPE_CHECKING:
    from local_llm_service.worker.celery_ext.ending import Ending


class JobState(StrEnum):
    """The words of `status`. JOINED belongs to flights."""

    QUEUED = "queued"
    RUNNING = "running"
    DEFERRED = "deferred"
    JOINED = "joined"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Admission(StrEnum):
    """What submit.lua decides."""

    QUEUE = "queue"
    EXISTS = "exists"
    FULL = "full"
    HIT = "hit"
    STALE = "stale"


class Settled(StrEnum):
    """What settle.lua did: stored the result, found one there, or refused a fence token."""

    STORED = "stored"
    ALREADY = "already"
    LOST = "lost"


_ADMISSIONS = {str(word): word for word in Admission}


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that this worker now holds. `queued_seconds` is None for one sent by name."""

    queue: str
    message: str
    task_id: str
    tag: str
    token: str
    queued_seconds: float | None
    left_seconds: float
    attempts: int
    crashes: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things are kept, seconds."""

    deadline_seconds: float
    result_seconds: int
    hit_result_seconds: int = 600


@dataclass
class CacheBounds:
    """How long an answer is cached, the largest one, and how much all may take in Redis."""

    seconds: int = 3600
    entry_bytes: int = 262_144
    total_bytes: int = 268_435_456


# These three are made at each call: neither frozen (slower to make) nor with slots (to import).
@dataclass
class NewJob:
    """A call as it is admitted.

    `queue` must hold less than `max_length` others (0: no limit). `canvas`: others wait for this
    job in a chain or chord. `has_new_id`: the id was made up for this call. `continued`: a worker
    makes the call, and whoever waits for its result may come much later.
    """

    task_id: str
    kind: str
    queue: str
    deadline_seconds: float
    max_length: int
    canvas: bool
    has_new_id: bool
    continued: bool = False


@dataclass
class Question:
    """What a caller brings to be answered from the cache.

    `agreed` is what it takes the workers to agree on for `model` (a name, or keys.DEFAULT_MODEL);
    the fingerprint is made with that, and empty when they agree on nothing. The result is stored as
    `before`, the cached answer, `after`; `date_done` is in it, ISO 8601.
    """

    model: str
    agreed: str = ""
    fingerprint: str = ""
    before: str = ""
    after: str = ""
    date_done: str = ""


#: A call that is not to be answered from the cache, nor to share a generation.
NO_QUESTION = Question(model="")


@dataclass
class Admitted:
    """`length` of the queue; `text`: the answer of a HIT, or what workers agree on when STALE.

    `date_done` of a HIT is that of its result.
    """

    decision: Admission
    length: int = 0
    text: str = ""
    date_done: str = ""


#: A fence token that is none: settle only while nobody holds the job.
UNHELD = ""

_SETTLED = {1: Settled.STORED, 0: Settled.ALREADY, -1: Settled.LOST}


class Jobs:
    """All moves of single jobs. Every call is one round trip and raises redis-py's errors."""

    def __init__(
        self, client: redis.Redis, lifetimes: Lifetimes, cache: CacheBounds | None = None
    ) -> None:
        self.client = client
        self.scripts = Scripts(client)
        self._lifetimes, self._cache = lifetimes, cache or CacheBounds()

    def submit(self, new: NewJob, question: Question = NO_QUESTION) -> Admitted:
        """Answer a job from the cache, or admit it to its queue.

        The client repeats a call whose reply was lost: it is known by its nonce.
        """
        nonce = new.task_id if new.has_new_id else uuid4().hex
        args: list[Any] = [new.task_id, nonce, new.kind, new.queue, new.max_length]
        args += [int(new.deadline_seconds * 1000), self._kept, int(new.canvas)]
        args += [question.model, question.agreed, question.fingerprint]
        hit_seconds = self._kept if new.continued else self._lifetimes.hit_result_seconds
        args += [hit_seconds, question.before, question.after]
        decision, detail = self.scripts.run("submit", args)
        if isinstance(detail, str):
            return Admitted(_ADMISSIONS[decision], text=detail, date_done=question.date_done)
        return Admitted(_ADMISSIONS[decision], length=detail)

    def put(self, queue: str, message: str, task_id: str, delay_seconds: float) -> None:
        """Queue a new message; with a delay it waits among the deferred first."""
        delay_ms = max(0, int(delay_seconds * 1000))
        self.scripts.run("put", [queue, message, task_id, delay_ms, self._kept])

    def take(
        self, queues: Sequence[str], *, worker: str, may_take_suspect: bool, nonce: str
    ) -> Taken | None:
        """Pop the most urgent message of `queues` and take custody of it.

        With the `nonce` of an earlier take of this worker, whose reply was lost, the same message.
        """
        default_ms = int(self._lifetimes.deadline_seconds * 1000)
        args: list[Any] = [worker, int(may_take_suspect), default_ms, self._kept, nonce]
        lists = []
        for queue in queues:
            lists += [keys.suspects(queue), queue]
            args += [queue, queue]
        found = self.scripts.run("take", args, lists)
        if found is None:
            return None
        queue, message, task_id, tag, token, queued, left, attempts, crashes, cancelled = found
        return Taken(
            queue=queue,
            message=message,
            task_id=task_id,
            tag=tag,
            token=str(token),
            queued_seconds=None if queued < 0 else queued / 1000,
            left_seconds=left / 1000,
            attempts=attempts,
            crashes=crashes,
            cancelled=bool(cancelled),
        )

    def release(
        self, task_id: str, token: str, *, delay_seconds: float = 0.0, counts: bool = False
    ) -> bool:
        """Put a held message, and what has joined it, back at the head of its queue, or let it wait
        first.

        `counts`: this was a try. False when it is not held under `token` any more.
        """
        args = [task_id, token, int(delay_seconds * 1000), int(counts)]
        return bool(self.scripts.run("release", args))

    def drop(self, task_id: str, tag: str, token: str) -> None:
        """End custody of a message that is no job of ours."""
        self.scripts.run("drop", [task_id, tag, token])

    def wake_deferred(self, default_queue: str, most: int = 100) -> int:
        """Move deferred messages that are due into their queues; returns how many."""
        return int(self.scripts.run("due", [most, default_queue]))

    def renew(self, held: Iterable[tuple[str, str, str]]) -> tuple[list[str], list[str]]:
        """Renew the leases of (task id, tag, token).

        Returns the tokens that this worker has lost, and those of jobs that somebody cancelled.
        """
        lost, cancelled = self.scripts.run("renew", [word for triple in held for word in triple])
        return list(lost), list(cancelled)

    def contact_seconds(self, *, longest_gap_seconds: float) -> float:
        """Note that this worker reaches Redis, and return for how long some worker always did."""
        return int(self.scripts.run("contact", [int(longest_gap_seconds * 1000)])) / 1000

    def sweep(self, *, lease_seconds: float, max_crashes: int) -> list[str]:
        """Take messages away from workers whose lease ran out, up to 100; returns their ids."""
        return list(self.scripts.run("sweep", [lease_seconds, max_crashes, 100]))

    def settle(self, task_id: str, token: str, ending: Ending) -> tuple[Settled, list[str]]:
        """Store and announce a result and end all custody, once; answer all who wait for the same.

        Returns what was done, and the ids of jobs that had joined this one and are answered now.

        `token`: the fence token of the holder, or UNHELD. With that, a job that runs can only leave
        its flight: its own end is stored, and the work goes on for the others.
        """
        result, work, cache = ending.result, ending.work, self._cache
        args: list[Any] = [task_id, token, ending.ends.value, ending.state.value]
        args += [ending.error, int(ending.dead), self._kept, keys.DEAD_LETTERS_MOST]
        args += [keys.DEAD_LETTERS_SECONDS * 1000, result.shared, result.before, result.after]
        args += [work.counted, work.prompt_tokens, work.completion_tokens]
        args += [cache.seconds if work.cacheable else 0, cache.entry_bytes, cache.total_bytes]
        args += [int(work.generation_seconds * 1000), result.others.holes, *result.others.pieces]
        done, *joined = self.scripts.run("settle", args)
        return _SETTLED[int(done)], joined

    def cancel(self, task_id: str) -> str:
        """Mark as cancelled and tell who runs it; see cancel.lua for what it returns."""
        return str(self.scripts.run("cancel", [task_id]))

    def replay(self, task_id: str, *, deadline_seconds: float, default_queue: str) -> bool:
        """Put a dead letter back into its queue as if it had never run; False if there is none."""
        args = [task_id, int(deadline_seconds * 1000), self._kept, default_queue]
        return bool(self.scripts.run("replay", args))

    def forget(self, task_id: str) -> None:
        """Remove a record whose message was never sent."""
        self.scripts.run("forget", [task_id])

    def record(self, task_id: str) -> dict[str, str]:
        """The record's fields; empty when there is none."""
        return self.client.hgetall(keys.job(task_id))  # type: ignore[return-value]

    @property
    def _kept(self) -> int:
        return self._lifetimes.result_seconds
