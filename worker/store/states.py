"""The states of a job, its record, and the values that its moves take and return.

    queued ──► running ──► succeeded | failed | cancelled
     ▲  ▲        │ │
     │  └ joined ◄┘ │      (a job with the same fingerprint runs: its answer will be this job's)
     └─── deferred ◄┘      (retries, countdown)

    queued or running ──► parked ──► running      (no worker here could run its model)

No request and no answer text is in a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from local_llm_service.worker.store.keys import DEFAULT_MODEL


class JobState(StrEnum):
    """The words of `status`."""

    QUEUED = "queued"
    RUNNING = "running"
    DEFERRED = "deferred"
    JOINED = "joined"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> JobState:
        return cls.UNKNOWN  # a newer worker may write another word


#: The states of a job that has had its result.
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Admission(StrEnum):
    """What submit.lua decides."""

    QUEUE = "queue"
    EXISTS = "exists"
    FULL = "full"
    HIT = "hit"
    STALE = "stale"


class Cancelling(StrEnum):
    """What cancel.lua found.

    UNKNOWN: there is no such job. RUNNING: its worker was told. CANVAS: a worker has to end it, as
    a chain or chord waits for it. SHARED: it runs, and others wait for its answer. WAITING: no
    worker holds it. ENDED: it has its result.
    """

    UNKNOWN = "unknown"
    RUNNING = "running"
    CANVAS = "canvas"
    SHARED = "shared"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """The hash `job:<task id>`: all that Redis knows of one job beside its message and its result.

    It lives to the job's deadline plus RESULT_TTL, and a group's leader to the latest deadline of
    its waiters plus that; once the job has its result, RESULT_TTL; with a dead letter, as long as
    the letter. Cache hits at submit have no record. Times are ms of Redis's clock. A field is
    missing until one of its writers has written it. Writers are scripts; "a job sent by name" is
    one that another application sent: collect writes its record, or take, where the sender put it
    straight into our queue.
    """

    #: Kind of job, e.g. "summarize". Written by submit; of a job sent by name, by collect or take.
    kind: str = ""
    #: Queue by its public name, e.g. "llm.normal". Written by submit, put (with a delay), collect,
    #: take and replay.
    queue: str = ""
    #: Where the job is. Written by every script that moves its message or ends it.
    state: JobState = JobState.UNKNOWN
    #: Names the call that submitted it, so that a repeated call is known. Written by submit.
    nonce: str = ""
    #: Its message was put, so that a repeated put is known. Written by put and collect, and by
    #: note_wishes, which reads a message sent by name that was not collected.
    put: bool = False
    #: When it was admitted. Written by submit and replay; missing for a job sent by name.
    submitted_ms: int | None = None
    #: When it is too late. Written by submit and replay; of a job sent by name, by collect, or by
    #: take and note_wishes.
    deadline_ms: int | None = None
    #: Another application sent it by name, and looks for its result elsewhere. Written by collect
    #: or take.
    by_name: bool = False
    #: A chain, a chord or a callback waits for it, so a worker has to end it. Written by submit,
    #: claim, collect and note_wishes.
    canvas: bool = False
    #: Of its single-flight group. Written by submit and claim, removed by detach.
    fingerprint: str | None = None
    #: The worker that holds it. Written by take; removed by release, reap, and by claim when the
    #: job becomes a follower. After settle it names the worker that ran the job last.
    worker: str | None = None
    #: The fencing token and the delivery tag under which the worker holds it. Written by take,
    #: removed by whatever ends the delivery.
    token: str | None = None
    tag: str | None = None
    #: How often a worker took it. Written by take.
    starts: int = 0
    #: How many tries failed, written by release, and how many workers died with it, written by
    #: reap. All waiters of a group share both.
    attempts: int = 0
    crashes: int = 0
    #: How often an engine died while it ran: 1 makes it a suspect, and only deaths in a run with
    #: nothing beside it add to that. Written by release, removed by replay; shared as above.
    engine_deaths: int = 0
    #: Its worker is to stop it, or the next one to fail it. Written by cancel, and by whatever
    #: takes the last waiter out of a group whose leader's caller is gone; removed by replay.
    cancelled: bool = False
    #: A worker has only to end it, as it is in a canvas and cancelled or too late: its message
    #: waits apart. Written by whatever moves the message there, removed by replay.
    to_end: bool = False
    #: A canvas job that leads a group was cancelled: it fails when its waiters have their answer.
    #: Written by cancel, removed by replay.
    cancel_requested: bool = False
    #: It runs on for its waiters though its own caller has a result (cancelled, too late). Written
    #: by settle, removed by whatever ends the delivery.
    caller_left: bool = False
    #: The fencing token under which its result was stored, "1" where no worker held it. Written by
    #: settle, removed by replay.
    settled: str | None = None
    #: The model that a worker has to serve, or keys.DEFAULT_MODEL. Written by submit; of a job sent
    #: by name, by pass_on, once a worker lacked it.
    model: str = ""
    #: Names of the workers whose engine failed it, with spaces between. Written by pass_on, removed
    #: by replay.
    failed_by: str = ""
    #: No worker could run it for MODEL_WAIT_SECONDS, or by its deadline: the next one that takes it
    #: fails it. Written by give_up and expired, removed by replay.
    given_up: bool = False
    #: Its text is to be read while it is written. Written by submit.
    stream: bool = False
    #: Whom the savings ledger enters it for, see savings.tenant_of. Written by submit.
    tenant: str = ""
    #: How far it is, as its kind says: parts done, parts in all (0: nobody knows), and what is
    #: being done, in one word. Written by note_step, removed by replay.
    done: int = 0
    total: int = 0
    phase: str = ""
    #: Steps of it that were done in one run, which a later one looks for. Written by note_step; all
    #: waiters of a group share it.
    kept_steps: int = 0
    #: How often it made room for a more urgent job. Written by release, removed by replay.
    yields: int = 0
    #: The run whose text led to its result, where a text was written. Written by settle and what it
    #: fans out, removed by replay.
    run: str | None = None
    #: Whom an HTTP process tells of its end: "job" or "response", the host, and the URL. Written by
    #: note_webhook.
    webhook: str | None = None
    #: Code of `errors`, once it failed. Written by settle and reap, removed by replay.
    error: str | None = None

    @property
    def has_message(self) -> bool:
        """Whether its message was ever in a queue: its caller may have died before it put it."""
        return self.put or self.starts > 0

    @classmethod
    def of(cls, found: Mapping[str, str]) -> Self | None:
        """Read the hash; None when there is no such job."""
        if not found:
            return None
        known = {field.name for field in fields(cls)}
        read = {name: _READERS.get(name, str)(text) for name, text in found.items()}
        return cls(**{name: value for name, value in read.items() if name in known})


def _shown_count(text: str) -> int:
    """A count that is there to be shown; 0 for what another version notes in its place."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


_READERS: Mapping[str, Any] = {
    "state": JobState,
    **dict.fromkeys(
        (
            *("put", "by_name", "canvas", "cancelled", "to_end", "cancel_requested"),
            *("caller_left", "given_up", "stream"),
        ),
        bool,
    ),
    **dict.fromkeys(("submitted_ms", "deadline_ms", "starts", "attempts", "crashes"), int),
    **dict.fromkeys(("engine_deaths", "kept_steps", "yields"), int),
    **dict.fromkeys(("done", "total"), _shown_count),
}


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things are kept, seconds: jobs without a result, results, results of cache hits."""

    deadline_seconds: float
    result_seconds: int
    hit_result_seconds: int


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """How long an answer is cached, the largest one, and how much memory all may take in Redis."""

    seconds: int
    entry_bytes: int
    total_bytes: int


#: Nothing is cached.
NO_CACHE = CacheBounds(0, 0, 0)


# These three are made at each call: neither frozen (slower to make) nor with slots (to import).
@dataclass
class NewJob:
    """A call that is to be admitted.

    The backlog of `queue` must have fewer than `max_length` jobs and `max_bytes` bytes (0: no
    limit). `canvas`: others wait for this job in a chain or chord. `has_new_id`: the id was made up
    for this call. `continued`: a worker makes the call, and whoever waits for its result may come
    much later. `stream`: its text is to be read while it is written. `tenant`: see JobRecord.
    """

    task_id: str
    kind: str
    queue: str
    deadline_seconds: float
    max_length: int
    canvas: bool
    has_new_id: bool
    continued: bool = False
    max_bytes: int = 0
    #: The model that a worker has to serve, or keys.DEFAULT_MODEL.
    model: str = DEFAULT_MODEL
    stream: bool = False
    tenant: str = ""


@dataclass
class CacheQuery:
    """What a caller brings to be answered from the cache.

    `consensus` is the revision of `model` (a name, or keys.DEFAULT_MODEL) that the caller believes
    all workers to share; the fingerprint is made with it, and empty when they share none. The
    result is stored as `before`, the cached answer, `after`; it holds `date_done`, ISO 8601.
    """

    model: str
    consensus: str = ""
    fingerprint: str = ""
    before: str = ""
    after: str = ""
    date_done: str = ""


class Seen:
    """What a look found of a job: its result as it is stored, and the state in its record."""

    def __init__(self, result: str | None, state: JobState | None) -> None:
        self.result, self.state = result, state

    @property
    def is_known(self) -> bool:
        """Whether the job has a result, or will have one: not when that has expired."""
        return self.result is not None or self.state not in (None, *ENDED)


@dataclass
class Backlog:
    """The jobs of one queue that have no result yet, and the bytes that they take in Redis."""

    jobs: int
    bytes: int


#: A call that neither reads the cache nor shares a generation.
NO_CACHE_QUERY = CacheQuery(model="")


@dataclass
class Admitted:
    """What became of a call. `backlog` is that of a FULL queue; `text` is the answer of a HIT, or
    the workers' consensus when STALE; `date_done` is that of a HIT's result, ISO 8601. `nonce`
    names the call, for `Jobs.forget`.
    """

    decision: Admission
    backlog: Backlog | None = None
    text: str = ""
    date_done: str = ""
    nonce: str = ""
