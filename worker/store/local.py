"""What delivery needs of this process: the scripts on its Redis, the worker's name and slots."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.jobs import CacheBounds, Jobs, Lifetimes
from local_llm_service.worker.store.single_flight import Flights


@dataclass
class _Worker:
    name: str = ""
    slots: int = 0
    queues: tuple[str, ...] = ()
    taken_at: float = 0.0


_worker = _Worker()


@lru_cache(maxsize=1)
def jobs() -> Jobs:
    """The scripts, on REDIS_URL."""
    from local_llm_service.worker.settings import get_settings

    settings = get_settings()
    lifetimes = Lifetimes(settings.deadline_seconds, settings.result_ttl, settings.hit_result_ttl)
    bounds = CacheBounds(
        settings.cache_ttl, settings.cache_max_entry_bytes, settings.cache_max_bytes
    )
    return Jobs(connect(settings.redis_url), lifetimes, bounds)


@lru_cache(maxsize=1)
def flights() -> Flights:
    """The scripts of flights, on the same Redis."""
    from local_llm_service.worker.settings import get_settings

    return Flights(jobs().scripts, get_settings().result_ttl)


def begin(name: str, slots: int) -> None:
    """This process is a worker: called once, when it starts."""
    _worker.name, _worker.slots = name, slots


def queues() -> tuple[str, ...]:
    """The queues that this worker consumes (`-Q` may leave some out)."""
    return _worker.queues


def note_queues(queues: list[str]) -> None:
    """The transport looks into these."""
    _worker.queues = tuple(queues)


def worker_name() -> str:
    """The node name of this worker; empty in a producer."""
    return _worker.name


def slots() -> int:
    """How many jobs this worker runs at once; 0 in a producer."""
    return _worker.slots


def refuse(task_id: str, token: str) -> None:
    """Give a job whose message nobody can read its failure. Raises redis-py's errors."""
    from local_llm_service.worker.app import app

    app.backend.fail(task_id, InvalidRequest("the message cannot be decoded"), token=token)


def note_taken() -> None:
    """A message was taken now."""
    _worker.taken_at = time.monotonic()


def taken_since(moment: float) -> bool:
    """Whether a message was taken after `moment` (monotonic seconds)."""
    return _worker.taken_at > moment
