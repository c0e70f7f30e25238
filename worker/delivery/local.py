"""What delivery needs of this process: the scripts on its Redis, the worker's name and slots."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from worker.delivery.jobs import Jobs, Lifetimes
from worker.redis_connection import connect


@dataclass
class _Worker:
    name: str = ""
    slots: int = 0
    taken_at: float = 0.0


_worker = _Worker()


@lru_cache(maxsize=1)
def jobs() -> Jobs:
    """The scripts, on REDIS_URL."""
    from worker.settings import get_settings

    settings = get_settings()
    lifetimes = Lifetimes(settings.deadline_seconds, settings.result_ttl)
    return Jobs(connect(settings.redis_url), lifetimes)


def begin(name: str, slots: int) -> None:
    """This process is a worker: called once, when it starts."""
    _worker.name, _worker.slots = name, slots


def worker_name() -> str:
    """The node name of this worker; empty in a producer."""
    return _worker.name


def slots() -> int:
    """How many jobs this worker runs at once; 0 in a producer."""
    return _worker.slots


def note_taken() -> None:
    """A message was taken now."""
    _worker.taken_at = time.monotonic()


def taken_since(moment: float) -> bool:
    """Whether a message was taken after `moment` (monotonic seconds)."""
    return _worker.taken_at > moment
