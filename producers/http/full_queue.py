"""When a caller who met a full queue may ask again: about when the next job ends."""

from __future__ import annotations

from collections.abc import Iterable

from local_llm_service.producers.http.service import HttpService
from local_llm_service.worker.errors import QueueFull, ServiceError
from local_llm_service.worker.store.presence import Presence


async def estimate_wait(service: HttpService, error: QueueFull) -> None:
    """Let the error say in how many seconds there may be room; nothing where nobody can know."""
    try:
        error.retry_after_seconds = seconds_to_next_end(await service.workers())
    except ServiceError:
        return


def seconds_to_next_end(workers: Iterable[Presence]) -> float | None:
    """In how many seconds one of the jobs that run now ends; None where none runs.

    The best guess for a job that was met at some moment is that it goes on for as long as it has
    been running; of several that run beside each other the first one ends as much sooner.
    """
    ages = [job.seconds for worker in workers for job in worker.jobs]
    return sum(ages) / len(ages) ** 2 if ages else None
