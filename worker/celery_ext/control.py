"""Cancels a job wherever it is: for `cancel()`, Celery's `revoke()` and Flower's button."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control as CeleryControl

from local_llm_service.worker.errors import Cancelled
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.outcomes import Settled
from local_llm_service.worker.store.states import Cancelling, JobState
from local_llm_service.worker.store.store import Store, process_store

#: A job changes hands at most a few times while it is being cancelled.
_RACES = 10


def cancelling(app: Any, moves: Moves, task_id: str) -> Calls[JobState]:
    """Cancel one job and return its state, as calls to Redis.

    CANCELLED: the job has its failure. RUNNING: its worker is still being told, or a worker has yet
    to take it, for a job in a chain or chord. UNKNOWN: no such job. Another state: the job had
    ended before. A cancel works without any worker, because the job's record keeps it.
    """
    for _ in range(_RACES):
        found = yield from moves.cancel(task_id)
        if found is Cancelling.UNKNOWN:
            return JobState.UNKNOWN
        if found in (Cancelling.RUNNING, Cancelling.CANVAS):
            return JobState.RUNNING
        if found is Cancelling.ENDED:
            break
        # No worker holds the job, or others wait for its answer and only its own caller leaves.
        error = Cancelled("the job was cancelled")
        settled, _ = yield from app.backend.failing(moves, task_id, error)
        if settled is Settled.STORED:
            return JobState.CANCELLED
        if settled is Settled.ALREADY:
            break
        # A worker has just taken the job, or the others have left: look again.
    return (yield from moves.state(task_id)) or JobState.UNKNOWN


def cancel(store: Store, task_id: str) -> JobState:
    """The same for a worker, which blocks. Raises redis-py's errors."""
    from local_llm_service.worker.app import app

    return store.drive(cancelling(app, store.jobs.moves, task_id))


class Control(CeleryControl):
    """Celery's control with `revoke` as this service's cancel."""

    def __init__(self, app: Any = None) -> None:
        super().__init__(app)
        # Celery would take the serializer of tasks, which another app's control does not know.
        self.mailbox.serializer = "json"

    def revoke(self, task_id: Any, *args: Any, **kwargs: Any) -> None:
        """Cancel one id or a list of them, running or not, `terminate` or not.

        Raises BrokerUnreachable.
        """
        for one in [task_id] if isinstance(task_id, str) else list(task_id or ()):
            with reachable(lazy_settings().redis_url):
                store = process_store()
                store.drive(cancelling(self.app, store.jobs.moves, str(one)))

    def terminate(self, task_id: Any, *args: Any, **kwargs: Any) -> None:
        """The same as revoke: there is one way to cancel."""
        self.revoke(task_id)
