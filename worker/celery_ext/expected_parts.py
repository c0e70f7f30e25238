"""Checks at a worker's start that Celery uses the parts that celeryconfig.py names."""

from __future__ import annotations

from typing import Any

from celery.exceptions import ImproperlyConfigured

from local_llm_service.worker.celery_ext.pool import TaskPool
from local_llm_service.worker.celery_ext.rate_limits import limited
from local_llm_service.worker.celery_ext.result_backend import Backend
from local_llm_service.worker.store.old_keys import old_keys


def check_parts(worker: Any) -> None:
    """Raise ImproperlyConfigured if a part was replaced, e.g. by a command-line option.

    Also raise it if Redis holds keys of an old version.
    """
    if problem := old_keys(worker.llm_runtime.store.client):
        raise ImproperlyConfigured(problem)
    conf = worker.app.conf
    wrong = [
        what
        for what, right in (
            ("the pool (-P) must be celery_ext.pool:TaskPool", worker.pool_cls is TaskPool),
            (
                "broker_transport",
                conf.broker_transport.endswith("celery_ext.transport:Transport"),
            ),
            ("result_backend", isinstance(worker.app.backend, Backend)),
            ("task_acks_late must be on", conf.task_acks_late is True),
            ("worker_prefetch_multiplier must be 1", worker.prefetch_multiplier == 1),
            ("priority_steps", conf.broker_transport_options.get("priority_steps") == [0]),
            ("worker_disable_rate_limits must be on", conf.worker_disable_rate_limits is True),
        )
        if not right
    ]
    wrong += limited(worker.app)
    if wrong:
        raise ImproperlyConfigured(
            f"delivery would lose or repeat jobs: {'; '.join(wrong)}. Use celeryconfig.py as it is."
        )
