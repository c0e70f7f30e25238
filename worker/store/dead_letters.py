"""Dead letters: jobs that failed permanently, kept with their request, to look at or send again."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, cast

from local_llm_service.worker.store.jobs import Jobs
from local_llm_service.worker.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed permanently.

    `died_at` is Unix time, seconds; `error` is a code of `errors`; counts are those of JobRecord.
    """

    task_id: str
    kind: str
    queue: str
    error: str
    attempts: int
    crashes: int
    starts: int
    died_at: float


class DeadLetters:
    """All dead letters of one store. Every call raises redis-py's errors."""

    def __init__(self, scripts: Scripts, jobs: Jobs) -> None:
        self._client, self._keys, self._jobs = scripts.client, scripts.keys, jobs

    def all(self) -> list[DeadLetter]:
        """Return all of them, the newest first."""
        found = self._client.zrevrange(self._keys.dead_letters, 0, -1, withscores=True)
        return [self._letter(*pair) for pair in cast(list[tuple[str, float]], found)]

    def get(self, task_id: str) -> DeadLetter | None:
        """Return one of them; None when there is none of that id."""
        died_ms = self._client.zscore(self._keys.dead_letters, task_id)
        return None if died_ms is None else self._letter(task_id, float(died_ms))

    def request(self, task_id: str) -> dict[str, Any] | None:
        """Return the arguments of the job's call, which are somebody's words: show them only to
        someone who asks. None when there is no such letter."""
        raw = self._client.hget(self._keys.dead_letter_messages, task_id)
        if raw is None:
            return None
        message = json.loads(cast(str, raw))
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        args, kwargs, _ = json.loads(body)
        return {"args": args, "kwargs": kwargs}

    def last_text(self, task_id: str) -> str | None:
        """Return what the model wrote last, of a job that failed for that: also somebody's words.

        None when there is none. Of a long text it is the beginning, which says so.
        """
        return cast(str | None, self._client.hget(self._keys.dead_letter_texts, task_id))

    def drop(self, task_id: str) -> bool:
        """Throw one away; the job's failure stays. False when there is none of that id."""
        return self._jobs.drop_letter(task_id)

    def _letter(self, task_id: str, died_ms: float) -> DeadLetter:
        record = self._jobs.record(task_id)
        return DeadLetter(
            task_id=task_id,
            kind=(record and record.kind) or "?",
            queue=(record and record.queue) or "?",
            error=(record and record.error) or "?",
            attempts=record.attempts if record else 0,
            crashes=record.crashes if record else 0,
            starts=record.starts if record else 0,
            died_at=died_ms / 1000,
        )
