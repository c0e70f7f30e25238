"""Dead letters: jobs that failed for good, kept with their request, to look at or send again."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, cast

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Jobs


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. `died_at` is Unix time, seconds; `error` is a code of `worker.errors`."""

    task_id: str
    kind: str
    queue: str
    error: str
    attempts: int
    crashes: int
    starts: int
    died_at: float


def letters(jobs: Jobs) -> list[DeadLetter]:
    """All of them, the newest first. Raises redis-py's errors."""
    found = cast(list[tuple[str, float]], jobs.client.zrevrange(keys.DEAD, 0, -1, withscores=True))
    return [_letter(task_id, died_ms, jobs.record(task_id)) for task_id, died_ms in found]


def letter(jobs: Jobs, task_id: str) -> DeadLetter | None:
    """One of them, or None. Raises redis-py's errors."""
    died_ms = jobs.client.zscore(keys.DEAD, task_id)
    if died_ms is None:
        return None
    return _letter(task_id, float(died_ms), jobs.record(task_id))


def request(jobs: Jobs, task_id: str) -> dict[str, Any] | None:
    """The arguments that the job was called with: somebody's words, shown only when asked for."""
    raw = jobs.client.hget(keys.DEAD_MESSAGES, task_id)
    if raw is None:
        return None
    message = json.loads(cast(str, raw))
    body = message["body"]
    if message["properties"].get("body_encoding") == "base64":
        body = base64.b64decode(body)
    args, kwargs, _ = json.loads(body)
    return {"args": args, "kwargs": kwargs}


def drop(jobs: Jobs, task_id: str) -> bool:
    """Throw one away; its failure stays where it is. False if there is none."""
    with jobs.client.pipeline() as pipe:
        pipe.zrem(keys.DEAD, task_id)
        pipe.hdel(keys.DEAD_MESSAGES, task_id)
        return bool(pipe.execute()[0])


def _letter(task_id: str, died_ms: float, record: dict[str, str]) -> DeadLetter:
    return DeadLetter(
        task_id=task_id,
        kind=record.get("kind", "?"),
        queue=record.get("queue", "?"),
        error=record.get("error", "?"),
        attempts=int(record.get("attempts", 0)),
        crashes=int(record.get("crashes", 0)),
        starts=int(record.get("starts", 0)),
        died_at=died_ms / 1000,
    )
