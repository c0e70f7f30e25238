"""The process that stores results, as a worker does at the end of a job, without one."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.dedupe.child import serve
from local_llm_service.worker.app import app
from local_llm_service.worker.store.store import process_store

ANSWER = {
    "kind": "generate",
    "model": "fake:1b",
    "origin": "computed",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 11, "completion_tokens": 20},
    "timings": {
        "queued_seconds": 0.1,
        "load_seconds": 0.0,
        "prompt_seconds": 0.01,
        "generation_seconds": 0.2,
    },
    "text": "The queue holds the question until a worker is free, and the answer is kept. " * 5,
}


def store(ids: list[str], pause_seconds: float) -> list[float]:
    """Store a result for each job; returns Redis's TIME just before each, seconds since 1970."""
    redis = process_store().client
    found = []
    for task_id in ids:
        now: Any = redis.time()
        found.append(now[0] + now[1] / 1_000_000)
        app.backend._store_result(task_id, {**ANSWER, "task_id": task_id}, "SUCCESS")
        time.sleep(pause_seconds)
    return found


if __name__ == "__main__":
    serve({"store": store})
