"""The small record that Redis keeps of every job, beside its message and its answer.

    queued ──► running ──► succeeded | failed | cancelled

It answers `status`, makes a repeated task id one job, and carries the deadline. All moves are Lua
scripts on Redis's own clock, so hosts need not agree on the time. No request or answer text in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

import redis

from worker import names


class JobState(StrEnum):
    """The words of `status`. DEFERRED and JOINED belong to retries and flights."""

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


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker learns when it begins a job; `queued_seconds` is None for one sent by name."""

    queued_seconds: float | None
    left_seconds: float


class Jobs:
    """Job records in one Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, client: redis.Redis, *, result_ttl_seconds: int) -> None:
        self._client = client
        self._result_ttl = result_ttl_seconds
        self._submit, self._start, self._finish = (
            client.register_script(files(__package__).joinpath(f"scripts/{name}.lua").read_text())
            for name in ("submit", "start", "finish")
        )

    def submit(
        self, task_id: str, *, kind: str, queue: str, deadline_seconds: float, max_length: int
    ) -> tuple[Admission, int]:
        """Admit a job to `queue`, which holds at most `max_length` (0: no limit) others.

        Returns the decision and the length of the queue.
        """
        keys = [names.job(task_id), queue]
        deadline_ms = int(deadline_seconds * 1000)
        args: list[Any] = [max_length, deadline_ms, self._result_ttl, kind, queue]
        decision, length = self._submit(keys=keys, args=args)
        return Admission(decision), int(length)

    def start(
        self, task_id: str, *, kind: str, queue: str, worker: str, default_deadline_seconds: float
    ) -> Start:
        """Note that `worker` runs the job now."""
        args: list[Any] = [
            int(default_deadline_seconds * 1000),
            self._result_ttl,
            kind,
            queue,
            worker,
        ]
        queued_ms, left_ms = self._start(keys=[names.job(task_id)], args=args)
        queued = None if queued_ms < 0 else queued_ms / 1000
        return Start(queued_seconds=queued, left_seconds=left_ms / 1000)

    def finish(self, task_id: str, state: JobState, error_code: str = "") -> None:
        """Note how the job ended."""
        self._finish(keys=[names.job(task_id)], args=[state.value, self._result_ttl, error_code])

    def forget(self, task_id: str) -> None:
        """Remove a record whose message was never sent."""
        self._client.delete(names.job(task_id))

    def record(self, task_id: str) -> dict[str, str]:
        """The record's fields; empty when there is none."""
        return self._client.hgetall(names.job(task_id))  # type: ignore[return-value]
