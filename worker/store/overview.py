"""What there is of the whole service at one moment, for people who look: counts and codes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.calls import Calls, Script

#: So many failures are worth a look on a page; `local-llm dead list` has all.
FAILURES_MOST = 20


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """One queue: messages that wait in it, and its backlog in jobs and bytes."""

    name: str
    waiting: int
    unfinished: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed permanently: `error` is a code of `errors`. What nobody knows is empty."""

    task_id: str
    seconds_ago: float
    kind: str
    queue: str
    error: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Queues, most urgent first; jobs that workers hold, and that wait for another try; the result
    cache; all counters (stats.py); the newest failures."""

    queues: list[QueueCounts]
    running: int
    deferred: int
    cached: int
    cached_bytes: int
    counts: dict[str, int]
    failures: list[Failure]


def overview(failures_most: int = FAILURES_MOST) -> Calls[Overview]:
    """Look at all of it in one call."""
    found, counted, failed = yield Script("overview", [failures_most, *keys.QUEUES])
    counts, statistics = _numbers(found), _numbers(counted)
    queues = [
        QueueCounts(
            name,
            counts[f"{name}:waiting"],
            counts.get(f"{name}:jobs", 0),
            counts.get(f"{name}:bytes", 0),
        )
        for name in keys.QUEUES
    ]
    return Overview(
        queues=queues,
        running=counts["running"],
        deferred=counts["deferred"],
        cached=counts["cached"],
        cached_bytes=counts["cached_bytes"],
        counts=statistics,
        failures=list(_failures(failed)),
    )


def _numbers(pairs: Sequence[str]) -> dict[str, int]:
    return {name: int(value) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _failures(words: Sequence[str]) -> Iterator[Failure]:
    for place in range(0, len(words), 5):
        task_id, ago_ms, kind, queue, error = words[place : place + 5]
        yield Failure(task_id, int(ago_ms) / 1000, kind, queue, error)
