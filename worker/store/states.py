"""The states of a job, its record, and the values that its moves take and return.

    queued ──► running ──► succeeded | failed | cancelled
     ▲  ▲        │ │
     │  └ joined ◄┘ │      (a job with the same fingerprint runs: its answer will be this job's)
     └─── deferred ◄┘      (retries, countdown)

No request and no answer text is in a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self


class JobState(StrEnum):
    """The words of `status`."""

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


class Claim(StrEnum):
    """What claim.lua decides for a job that a worker is about to start.

    LEAD: run it. JOINED: another job runs; this one became its follower. CACHED: the answer is
    there. HANDOFF: the answer of the group that this canvas job had followed. SETTLED, CANCELLED,
    LOST: there is nothing to do.
    """

    LEAD = "lead"
    JOINED = "joined"
    CACHED = "cached"
    HANDOFF = "handoff"
    SETTLED = "settled"
    CANCELLED = "cancelled"
    LOST = "lost"


class Settled(StrEnum):
    """What settle.lua did: stored the result, found one there, or refused a fencing token."""

    STORED = "stored"
    ALREADY = "already"
    LOST = "lost"


class SettleFor(StrEnum):
    """Whose job ends: the caller's own (cancelled, too late), that of everybody who waits for the
    same work, or only that of the waiters."""

    CALLER = "caller"
    EVERYONE = "everyone"
    WAITERS = "waiters"


class Cancelling(StrEnum):
    """What cancel.lua found: no such job; its worker is told; a worker has to end it, as a chain or
    chord waits for it; it runs, and others wait for its answer; nobody holds it; it has ended."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    CANVAS = "canvas"
    SHARED = "shared"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """The hash `job:<task id>`: all that Redis knows of one job beside its message and its result.

    It lives to the job's deadline plus RESULT_TTL; once the job has its result, RESULT_TTL; with a
    dead letter, as long as the letter. A cache hit at submit has no record. Times are ms of Redis's
    clock. A field is missing until its writer has written it.
    """

    #: Kind of job, e.g. "summarize". Written by submit; for a message sent by name, by take.
    kind: str = ""
    #: Queue by its public name, e.g. "llm.normal". Written by submit, put and take.
    queue: str = ""
    #: Where the job is; every move writes it.
    state: JobState = JobState.UNKNOWN
    #: Names the call that submitted it, so that a repeated call is known. Written by submit.
    nonce: str = ""
    #: "1" once the message was put, so that a repeated put is known. Written by put.
    put: bool = False
    #: When submit admitted it. Missing for a message sent by name.
    submitted_ms: int | None = None
    #: When it is too late. Written by submit, or by take for a message sent by name.
    deadline_ms: int | None = None
    #: A chain, a chord or a callback waits for it, so a worker has to end it. By submit and claim.
    canvas: bool = False
    #: Of its single-flight group. Written by submit and claim; removed by detach.
    fingerprint: str | None = None
    #: Who holds it, under which fencing token and delivery tag. Written by take, removed by
    #: whatever ends the delivery.
    worker: str | None = None
    token: str | None = None
    tag: str | None = None
    #: How often a worker took it, how many tries failed, how many workers died with it. Followers
    #: and waiters share tries and crashes.
    starts: int = 0
    attempts: int = 0
    crashes: int = 0
    #: Its worker is to stop it. Written by cancel, and by detach when the last waiter goes.
    cancelled: bool = False
    #: A canvas job that leads a group was cancelled: it fails when its waiters have their answer.
    cancel_requested: bool = False
    #: It runs on for its waiters though its own caller has a result (cancelled, too late).
    caller_left: bool = False
    #: The fencing token under which the result was stored, "1" without one. Written by settle.
    settled: str | None = None
    #: Code of `errors`, once it failed.
    error: str | None = None

    @classmethod
    def of(cls, found: Mapping[str, str]) -> Self | None:
        """Read the hash; None when there is no such job."""
        if not found:
            return None
        known = {field.name for field in fields(cls)}
        read = {name: _READERS.get(name, str)(text) for name, text in found.items()}
        return cls(**{name: value for name, value in read.items() if name in known})


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        return JobState.UNKNOWN


_READERS: Mapping[str, Any] = {
    "state": _state,
    **dict.fromkeys(("put", "canvas", "cancelled", "cancel_requested", "caller_left"), bool),
    **dict.fromkeys(("submitted_ms", "deadline_ms", "starts", "attempts", "crashes"), int),
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that this worker holds under a fencing token.

    `queued_seconds` is None for a message sent by name.
    """

    queue: str
    message: str
    task_id: str
    tag: str
    token: str
    queued_seconds: float | None
    remaining_seconds: float
    attempts: int
    crashes: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things are kept, seconds."""

    deadline_seconds: float
    result_seconds: int
    hit_result_seconds: int = 600


@dataclass(frozen=True, slots=True)
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
class CacheQuery:
    """What a caller brings to be answered from the cache.

    `consensus` is what the caller believes that all workers share for `model` (a name, or
    keys.DEFAULT_MODEL); the fingerprint is made with it, and empty when they share nothing. The
    result is stored as `before`, the cached answer, `after`; `date_done` is in it, ISO 8601.
    """

    model: str
    consensus: str = ""
    fingerprint: str = ""
    before: str = ""
    after: str = ""
    date_done: str = ""


#: A call that is not to be answered from the cache, nor to share a generation.
NO_CACHE_QUERY = CacheQuery(model="")


@dataclass
class Admitted:
    """`length` of the queue; `text`: the answer of a HIT, or the workers' consensus when STALE.

    `date_done` of a HIT is that of its result.
    """

    decision: Admission
    length: int = 0
    text: str = ""
    date_done: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What was done for a result: its source, tokens, and whether others may have it later.

    Tokens are those of the answer, also where another job generated them.
    """

    origin: str = "computed"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    generation_seconds: float = 0.0
    cacheable: bool = False

    @property
    def counter(self) -> str:
        """The counter in the statistics."""
        return _COUNTERS[self.origin]


#: Nothing was done.
NO_WORK = Work()

_COUNTERS = {"computed": "misses", "cached": "hits", "joined": "joined"}


@dataclass(frozen=True, slots=True)
class ResultTemplate:
    """A result with holes: after each piece but the last, one character of `holes` (settle.lua)."""

    holes: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResultText:
    """A job's result in three parts, the middle one shared with all who wait for the same."""

    before: str
    shared: str
    after: str
    for_waiters: ResultTemplate


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: `error` is a code of `errors`, empty for an answer.

    `keep_letter`: the message becomes a dead letter.
    """

    state: JobState
    error: str
    settle_for: SettleFor
    keep_letter: bool
    result: ResultText
    work: Work


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """The members of an answer that are the same for everyone who asked."""

    members: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class SharedFailure:
    """The error of a job that ran for everyone who asked, as Celery stores it."""

    error: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int


#: A fencing token for "nobody holds the job": settle only then.
UNHELD = ""
