"""A producer process of one side that makes calls, waits for answers and reports the times.

Times come from the monotonic clock, which all processes of one machine share. Both sides are called
in the same way: `.delay()` for each job, then `.get()` for each.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.dedupe.child import serve

ANSWER_SECONDS = 300.0
SIDE = sys.argv[1] if len(sys.argv) > 1 else "ours"

now = time.monotonic


def _task(name: str = "generate") -> Any:
    if SIDE == "ours":
        from local_llm_service import tasks

        return tasks.generate
    from benchmarks.dedupe import plain

    return getattr(plain, name)


def _app() -> Any:
    return _task().app


def batch(prompts: list[str], **options: Any) -> dict[str, Any]:
    """Submit all, then wait for all."""
    task = _task()
    gc.collect()
    began = now()
    results = [task.delay(prompt, **options) for prompt in prompts]
    submitted = now()
    answers = [result.get(timeout=ANSWER_SECONDS) for result in results]
    ended = now()
    return {
        "began": began,
        "submitted": submitted,
        "ended": ended,
        "origins": _origins(answers),
        "texts": sum(1 for answer in answers if _text(answer)),
    }


def rush(calls: list[dict[str, Any]], at: float) -> list[dict[str, Any]]:
    """Submit all calls at the time `at`, then record when each answer arrived."""
    task = _task()
    time.sleep(max(0.0, at - now()))
    made = [(now(), task.delay(**call)) for call in calls]
    seen = []
    for asked, result in made:
        answer = result.get(timeout=ANSWER_SECONDS)
        seen.append({
            "id": result.id,
            "asked": asked,
            "woken": now(),
            "origin": answer["origin"],
            "text": answer["text"],
        })  # fmt: skip
    return seen


def hits(prompts: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of one bare GET and of one call until its answer arrives, in turn."""
    task, bare = _task(), _Bare()
    found: dict[str, list[float]] = {"bare": [], "hit": [], "cached": []}
    for number in range(rounds):
        prompt = prompts[number % len(prompts)]
        found["bare"].append(bare.get())
        began = time.perf_counter()
        answer = task.delay(prompt).get(timeout=ANSWER_SECONDS)
        found["hit"].append(time.perf_counter() - began)
        found["cached"].append(float(answer["origin"] == "cached"))
    return found


def through_worker(prompts: list[str], rounds: int) -> dict[str, list[float]]:
    """Do as `hits` does, with the plain task that looks in Redis inside the worker."""
    task, bare = _task("lookup"), _Bare()
    found: dict[str, list[float]] = {"bare": [], "hit": []}
    for number in range(rounds):
        prompt = prompts[number % len(prompts)]
        found["bare"].append(bare.get())
        began = time.perf_counter()
        task.delay(prompt).get(timeout=ANSWER_SECONDS)
        found["hit"].append(time.perf_counter() - began)
    return found


def submit(prompts: list[str]) -> list[str]:
    """Submit calls and return their ids, for another process to read."""
    return [_task().delay(prompt).id for prompt in prompts]


def read(ids: list[str]) -> dict[str, list[float]]:
    """Seconds of one bare GET and of one answer read by its id, in turn."""
    app, bare = _app(), _Bare()
    found: dict[str, list[float]] = {"bare": [], "read": []}
    for task_id in ids:
        found["bare"].append(bare.get())
        began = time.perf_counter()
        app.AsyncResult(task_id).get(timeout=ANSWER_SECONDS)
        found["read"].append(time.perf_counter() - began)
    return found


def rate(prompts: list[str], seconds: float) -> float:
    """Answered calls per second, made one after the other in this one process."""
    task, count = _task(), 0
    began = now()
    while now() - began < seconds:
        task.delay(prompts[count % len(prompts)]).get(timeout=ANSWER_SECONDS)
        count += 1
    return count / (now() - began)


def load_engine(slots: int, seconds: float) -> list[float]:
    """Ask the engine itself from `slots` threads, without Celery; return each answer's seconds."""
    found: list[float] = []
    threads = [threading.Thread(target=_load, args=(found, now() + seconds)) for _ in range(slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _load(found: list[float], until: float) -> None:
    connection = HTTPConnection(urlsplit(os.environ["OLLAMA_HOST"]).netloc)
    body = b'{"model":"fake:1b","stream":false,"messages":[{"role":"user","content":"hi"}]}'
    while now() < until:
        began = now()
        connection.request("POST", "/api/chat", body)
        connection.getresponse().read()
        found.append(now() - began)
    connection.close()


class _Bare:
    """Times a GET of a value as large as an answer, by redis-py on its warm connection."""

    def __init__(self) -> None:
        import redis

        self._client = redis.Redis.from_url(os.environ["REDIS_URL"])
        self._client.set("bench:bare", "x" * 700, ex=3600)
        for _ in range(100):
            self._client.get("bench:bare")

    def get(self) -> float:
        """Seconds that one GET takes."""
        began = time.perf_counter()
        self._client.get("bench:bare")
        return time.perf_counter() - began


def _origins(answers: list[Any]) -> dict[str, int]:
    names = [one["origin"] if isinstance(one, dict) else "computed" for one in answers]
    return {name: names.count(name) for name in sorted(set(names))}


def _text(answer: Any) -> str:
    return str(answer["text"] if isinstance(answer, dict) else answer)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (batch, rush, hits, through_worker, submit, read, rate, load_engine)
}

if __name__ == "__main__":
    serve(FUNCTIONS)
