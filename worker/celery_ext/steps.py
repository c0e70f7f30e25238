"""Hooks into Celery's worker: start the keeper first, stop it last, drain on SIGTERM."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals

from local_llm_service.worker.celery_ext.agreement import check_parts
from local_llm_service.worker.lease.heartbeat import Keeper
from local_llm_service.worker.metrics import JOBS
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store import local

logger = logging.getLogger(__name__)


def _count(outcome: str) -> Callable[..., None]:
    def count(sender: Any = None, **_: Any) -> None:
        JOBS.labels(str(sender.name).removeprefix("llm."), outcome).inc()

    return count


class KeeperStep(bootsteps.StartStopStep):
    """Runs the keeper while this worker runs.

    It is not stopped with the other steps: leases are renewed until the pool has drained.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """`parent` is Celery's worker."""
        check_parts(parent)
        local.begin(str(parent.hostname), int(parent.concurrency))
        keeper = Keeper(get_settings(), local.jobs(), parent.app.backend)
        keeper.start()
        signals.task_success.connect(_count("succeeded"), weak=False)
        signals.task_failure.connect(_count("failed"), weak=False)
        signals.worker_shutting_down.connect(lambda **_: keeper.drain(), weak=False)
        signals.worker_shutdown.connect(lambda **_: keeper.stop(), weak=False)
