"""The Celery task of every kind, kept thin: submit.py and run.py hold the halves of a job's path.

    producer:  validate → fingerprint → admit (one script: known id? in the cache? full?)
               → publish to its queue                                               (submit.py)
    worker:    take under a lease → validate again
               → claim (one script: cached? an identical job running?) → engine → read
               → Celery stores the answer: settle, one script                       (run.py)
               a transient error: back to the queue, without holding a slot         (retry.py)

Each kind adds its own request, prompt and reading (tasks/<kind>.py); this module knows no kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from celery.result import AsyncResult

from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Limits, check_shared, parse
from local_llm_service.tasks.submit import Submitted, submission, submit
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.default_queue import name_queue
from local_llm_service.worker.celery_ext.private_task import PrivateTask
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.worker_packages import worker_packages


class KindTask(PrivateTask):
    """A Celery task that checks calls in the caller's process and keeps their text private."""

    abstract = True
    kind: Kind

    typing = False  # our own check names the field and the limit

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult:
        """Check the call, admit the job and put it into its queue; Celery's options work as usual.

        For an id that exists already, nothing runs and the existing job's handle comes back.
        Raises InvalidRequest, QueueFull, or, within 5 s, BrokerUnreachable; then nothing is queued.
        """
        return submit(self, super().apply_async, args, kwargs, task_id, options)

    def submission(
        self,
        arguments: Mapping[str, Any],
        task_id: str | None,
        moves: Moves,
        eviction: EvictionCheck,
    ) -> Calls[Submitted]:
        """The same call for a client, as calls to Redis for its driver. Raises as apply_async."""
        return submission(self, super().apply_async, arguments, task_id, moves, eviction)

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's signature of a call, which names its queue: another app's worker may send it."""
        made = super().signature(*args, **kwargs)
        name_queue(made, self.kind.default_priority)
        return made

    subtask = signature

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do the job in this process and return the answer. Raises errors of `worker.errors`."""
        # Imported here, because a backend that only sends jobs does not need the worker's half.
        with worker_packages():
            from local_llm_service.tasks.run import run
        return run(self, args, kwargs)

    def parse(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> JobRequest:
        """Read the call as the kind's request. Raises InvalidRequest."""
        return parse(self.kind.request, args, kwargs, _limits())

    def check_shared(self, kwargs: Mapping[str, Any]) -> None:
        """Validate arguments that many calls share. Raises InvalidRequest."""
        check_shared(self.kind.request, kwargs, _limits())


#: Every kind by its name. Its task, in the attribute of `tasks`, reads the settings at first use.
KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> KindTask:
    """Make the Celery task `llm.<kind>`, which is bound to the app at first use, not at import."""
    KINDS[kind.name] = kind

    def run(self: KindTask, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return KindTask.run(self, *args, **kwargs)

    run.__name__, run.__doc__ = kind.name, kind.description
    run.__module__ = f"local_llm_service.tasks.{kind.name}"
    task: KindTask = app.task(
        # A shared task would also be added to every other Celery app in the process.
        run, name=f"llm.{kind.name}", base=KindTask, bind=True, shared=False, kind=kind
    )  # fmt: skip
    return task


@lru_cache(maxsize=1)
def _limits() -> Limits:
    settings = lazy_settings()
    return Limits(
        max_prompt_chars=settings.max_prompt_chars,
        max_messages=settings.max_messages,
        max_schema_depth=settings.max_schema_depth,
        max_output_tokens=settings.max_output_tokens,
    )
