"""Settings that must agree, within a worker and between the workers of one Redis.

Checked when a worker starts; where they do not, it does not start.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import ImproperlyConfigured

from local_llm_service.worker.celery_ext.pool import TaskPool
from local_llm_service.worker.celery_ext.result_backend import Backend
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.presence import Presence


def check_parts(worker: Any) -> None:
    """Raise ImproperlyConfigured where Celery was given other parts than celeryconfig.py names."""
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
        )
        if not right
    ]
    if wrong:
        raise ImproperlyConfigured(
            f"delivery would lose or repeat jobs: {'; '.join(wrong)}. Use celeryconfig.py as it is."
        )


def disagreement(settings: Settings, others: list[Presence]) -> str | None:
    """Why this worker must not run beside `others`; None when it may.

    With a shorter lease than theirs it would take jobs away from workers that are well.
    """
    lease = settings.lease_seconds
    theirs = {other.lease_seconds for other in others} - {None, lease}
    if not theirs:
        return None
    return (
        f"LEASE_SECONDS is {lease:g} here and {min(filter(None, theirs)):g} at a worker that runs "
        "on this Redis"
    )
