"""Every move of a job in Redis, each one Lua script (scripts/), and the record that tells of it.

    queued ──► running ──► succeeded | failed | cancelled
       ▲          │
       └─ deferred ◄┘  (retries, countdown)

The record beside message and answer serves `status`, makes a repeated task id one job, and carries
deadline, counts and the fence token of who holds the message. Scripts use Redis's own clock, so
hosts need not agree on the time. No request or answer text in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from redis.commands.core import Script

from worker import names


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


class Settled(StrEnum):
    """What settle.lua did: stored the result, found one there, or refused a fence token."""

    STORED = "stored"
    ALREADY = "already"
    LOST = "lost"


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


SCRIPTS = Path(__file__).parent / "scripts"

#: A fence token that is none: settle only while nobody holds the job.
UNHELD = ""

_SETTLED = {1: Settled.STORED, 0: Settled.ALREADY, -1: Settled.LOST}


class Jobs:
    """All scripts on one Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, client: redis.Redis, lifetimes: Lifetimes) -> None:
        self.client = client
        self._lifetimes = lifetimes
        self._scripts: dict[str, Script] = {}

    def submit(
        self,
        task_id: str,
        *,
        kind: str,
        queue: str,
        deadline_seconds: float,
        max_length: int,
        canvas: bool,
    ) -> tuple[Admission, int]:
        """Admit a job to `queue`, which holds at most `max_length` (0: no limit) others.

        The client repeats a call whose reply was lost: it is known by its nonce. `canvas`: others
        wait for this job in a chain or chord.
        Returns the decision and the length of the queue.
        """
        keys = [names.job(task_id), queue, names.DEADLINES]
        args = [max_length, int(deadline_seconds * 1000), self._kept, kind, queue, task_id]
        args += [uuid4().hex, int(canvas)]
        decision, length = self._run("submit", keys, args)
        return Admission(decision), int(length)

    def put(self, queue: str, message: str, task_id: str, delay_seconds: float) -> None:
        """Queue a new message; with a delay it waits among the deferred first."""
        keys = [queue, names.DOORBELL, names.DEFERRED, names.DEFERRED_MESSAGES, names.job(task_id)]
        delay_ms = max(0, int(delay_seconds * 1000))
        self._run("put", keys, [message, task_id, delay_ms, names.DOORBELL_MOST, queue])

    def take(
        self, queues: Sequence[str], *, worker: str, may_take_suspect: bool, nonce: str
    ) -> Taken | None:
        """Pop the most urgent message of `queues` and take custody of it.

        With the `nonce` of an earlier take of this worker, whose reply was lost, the same message.
        """
        keys = [names.UNACKED, names.UNACKED_INDEX, names.HELD, names.FENCE]
        keys += [names.DOORBELL, names.UNREADABLE, names.DEADLINES, names.last_take(worker)]
        args: list[Any] = [worker, int(may_take_suspect)]
        args += [int(self._lifetimes.deadline_seconds * 1000), self._kept, names.JOB]
        args += [names.UNREADABLE_MOST, nonce]
        for queue in queues:
            keys += [names.suspects(queue), queue]
            args += [queue, queue]
        found = self._run("take", keys, args)
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
        """Put a held message back at the head of its queue, or let it wait first.

        `counts`: this was a try. False when it is not held under `token` any more.
        """
        keys = [names.job(task_id), names.UNACKED, names.UNACKED_INDEX, names.HELD]
        keys += [names.DOORBELL, names.DEFERRED, names.DEFERRED_MESSAGES]
        args = [task_id, token, int(delay_seconds * 1000), int(counts)]
        return bool(self._run("release", keys, [*args, names.DOORBELL_MOST, names.suspects("")]))

    def drop(self, task_id: str, tag: str, token: str) -> None:
        """End custody of a message that is no job of ours."""
        keys = [names.job(task_id), names.UNACKED, names.UNACKED_INDEX, names.HELD]
        self._run("drop", keys, [tag, token])

    def wake_deferred(self, default_queue: str, most: int = 100) -> int:
        """Move deferred messages that are due into their queues; returns how many."""
        keys = [names.DEFERRED, names.DEFERRED_MESSAGES, names.DOORBELL]
        args = [most, names.JOB, names.DOORBELL_MOST, default_queue, names.suspects("")]
        return int(self._run("due", keys, args))

    def renew(self, held: Iterable[tuple[str, str, str]]) -> tuple[list[str], list[str]]:
        """Renew the leases of (task id, tag, token).

        Returns the tokens that this worker has lost, and those of jobs that somebody cancelled.
        """
        triples = [word for triple in held for word in triple]
        lost, cancelled = self._run("renew", [names.UNACKED_INDEX], [names.JOB, *triples])
        return list(lost), list(cancelled)

    def contact_seconds(self, *, longest_gap_seconds: float) -> float:
        """Note that this worker reaches Redis, and return for how long some worker always did."""
        gap_ms = int(longest_gap_seconds * 1000)
        return int(self._run("contact", [names.CONTACT], [gap_ms])) / 1000

    def sweep(self, *, lease_seconds: float, max_crashes: int) -> list[str]:
        """Take messages away from workers whose lease ran out, up to 100; returns their ids."""
        keys = [names.UNACKED, names.UNACKED_INDEX, names.HELD, names.DOORBELL]
        keys += [names.DEAD, names.DEAD_MESSAGES, names.UNANSWERED]
        args = [lease_seconds, max_crashes, 100, names.JOB, names.suspects("")]
        return list(self._run("sweep", keys, [*args, names.DOORBELL_MOST]))

    def settle(
        self, task_id: str, token: str, result: str, state: JobState, *, error: str, dead: bool
    ) -> Settled:
        """Store and announce a result and end all custody, once.

        `token`: the fence token of the holder, or UNHELD. `dead` keeps the message.
        """
        keys = [names.job(task_id), names.result(task_id), names.UNACKED, names.UNACKED_INDEX]
        keys += [names.HELD, names.DEADLINES, names.UNANSWERED, names.DEFERRED]
        keys += [names.DEFERRED_MESSAGES, names.DEAD, names.DEAD_MESSAGES]
        args = [task_id, token, result, self._kept, state.value, error, int(dead)]
        args += [names.DEAD_LETTERS_MOST, names.DEAD_LETTERS_SECONDS * 1000]
        return _SETTLED[int(self._run("settle", keys, args))]

    def cancel(self, task_id: str) -> str:
        """Mark as cancelled and tell who runs it. "unknown", "running", or the state it is in."""
        keys = [names.job(task_id)]
        return str(self._run("cancel", keys, [task_id, names.CANCEL_CHANNEL]))

    def replay(self, task_id: str, *, deadline_seconds: float, default_queue: str) -> bool:
        """Put a dead letter back into its queue as if it had never run; False if there is none."""
        keys = [names.job(task_id), names.result(task_id), names.DEAD, names.DEAD_MESSAGES]
        keys += [names.DEADLINES, names.DOORBELL, names.UNANSWERED]
        args = [task_id, int(deadline_seconds * 1000), self._kept, default_queue]
        return bool(self._run("replay", keys, [*args, names.DOORBELL_MOST]))

    def forget(self, task_id: str) -> None:
        """Remove a record whose message was never sent."""
        with self.client.pipeline() as pipe:
            pipe.delete(names.job(task_id))
            pipe.zrem(names.DEADLINES, task_id)
            pipe.execute()

    def record(self, task_id: str) -> dict[str, str]:
        """The record's fields; empty when there is none."""
        return self.client.hgetall(names.job(task_id))  # type: ignore[return-value]

    @property
    def _kept(self) -> int:
        return self._lifetimes.result_seconds

    def _run(self, name: str, keys: list[str], args: Sequence[Any]) -> Any:
        script = self._scripts.get(name)
        if script is None:
            text = (SCRIPTS / f"{name}.lua").read_text()
            script = self._scripts[name] = self.client.register_script(text)
        return script(keys=keys, args=list(args))
