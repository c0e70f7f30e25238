"""Steps of Celery's worker that make the runtime, start its threads and drain it on SIGTERM."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import celery.apps.worker
from celery import bootsteps, signals

from local_llm_service.worker import metrics
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.afterwork import AfterworkThread
from local_llm_service.worker.celery_ext.bare_lists import collect, collect_all
from local_llm_service.worker.celery_ext.control import cancel
from local_llm_service.worker.celery_ext.expected_parts import check_parts
from local_llm_service.worker.celery_ext.plain_app import callback_redis
from local_llm_service.worker.celery_ext.result_backend import fail, try_without_end
from local_llm_service.worker.engine import open_engine
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.lease.chores import chores
from local_llm_service.worker.lease.drain import drain, end_late
from local_llm_service.worker.lease.fan_outs import finish_fan_outs
from local_llm_service.worker.lease.heartbeat import LeaseHeartbeat
from local_llm_service.worker.lease.model_wait import ModelWait
from local_llm_service.worker.lease.orphans import Orphans
from local_llm_service.worker.lease.overdue import Overdue
from local_llm_service.worker.lease.reaper import Reaper
from local_llm_service.worker.lease.spending_watch import SpendingWatch
from local_llm_service.worker.lease.watchdog import Watchdog
from local_llm_service.worker.log_lines import quote_log_lines
from local_llm_service.worker.log_output import unblock_output
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import get_settings, renamed_variables
from local_llm_service.worker.store.store import process_store

logger = logging.getLogger(__name__)


class LeaseStep(bootsteps.StartStopStep):
    """Makes the worker's runtime and runs its lease heartbeat.

    The heartbeat does not stop with the other steps: it renews leases until the pool has drained.
    """

    requires = ("celery.worker.components:Pool",)

    def create(self, parent: Any) -> None:
        """Make the runtime of `parent`, Celery's worker, before its consumer is made."""
        # Here also for `celery -A`, whose own handlers are set up by now.
        quote_log_lines()
        unblock_output()
        # Celery's own writes to the descriptor itself, which blocks: SIGTERM ended no worker.
        celery.apps.worker.safe_say = _say
        settings = get_settings()
        try_without_end(parent.app)
        for old, new in renamed_variables().items():
            logger.warning("%s is now called %s; the old name is still read", old, new)
        parent.llm_runtime = WorkerRuntime.make(
            str(parent.hostname),
            int(parent.concurrency),
            settings,
            process_store(),
            open_engine(settings),
        )

    def start(self, parent: Any) -> None:
        """Check Celery's parts and begin to renew leases."""
        check_parts(parent)
        runtime: WorkerRuntime = parent.llm_runtime
        heartbeat = lease_heartbeat(runtime, lambda: parent.pool.replace_slot())
        gc.freeze()  # a full collection over all that is imported stopped every thread for 32 ms
        heartbeat.start()
        # Without its models, no job would be taken for the first second.
        runtime.catalog.first_look()
        afterwork = afterwork_thread(runtime)
        afterwork.start()
        runtime.nudge_afterwork = afterwork.nudge
        gate = runtime.gate
        _watch(runtime)
        # Celery counts for the whole process: connected once, however many workers it has.
        signals.task_success.connect(_count_success)
        signals.task_failure.connect(_count_failure)

        ended = threading.Event()

        def begin_drain(**_: Any) -> None:
            drain_seconds = runtime.settings.drain_seconds
            drain(gate, runtime.in_flight, drain_seconds)
            end_late(runtime.store.jobs, runtime.in_flight, ended, drain_seconds)

        def end(**_: Any) -> None:
            ended.set()
            heartbeat.stop()
            afterwork.stop()

        # Of this worker alone: Celery sends the first with its name, the second with itself.
        signals.worker_shutting_down.connect(begin_drain, sender=parent.hostname, weak=False)
        signals.worker_shutdown.connect(end, sender=parent, weak=False)


def _watch(runtime: WorkerRuntime) -> None:
    """Let the gauges read a worker's numbers."""
    gate = runtime.gate
    metrics.watch(
        in_flight=lambda: len(runtime.in_flight),
        gate_open=lambda: gate.is_open,
        breaker_closed=lambda: Reason.OLLAMA not in gate.reasons,
    )
    for engine in runtime.fleet.engines:
        metrics.watch_engine(
            engine.name,
            partial(runtime.breaker.is_reachable, engine.name),
            partial(runtime.served.running, engine.name),
        )


def _say(message: str, stream: TextIO | None = None) -> None:
    """Print what Celery's signal handlers say, to `stream` or stderr; it may be lost."""
    with suppress(OSError, ValueError):
        print(f"\n{message}", file=sys.__stderr__ if stream is None else stream, flush=True)


class PresenceStep(bootsteps.StartStopStep):
    """Publishes the worker until its process ends: while it drains, `health` says so."""

    requires = (LeaseStep,)

    def start(self, parent: Any) -> None:
        """Begin to publish `parent`, which is Celery's worker."""
        presence = parent.llm_runtime.publisher()
        presence.start()

        def end(**_: Any) -> None:
            presence.stop()

        signals.worker_shutdown.connect(end, sender=parent, weak=False)


def lease_heartbeat(
    runtime: WorkerRuntime, replace_slot: Callable[[], None] = lambda: None
) -> LeaseHeartbeat:
    """A worker's heartbeat with all its chores, not yet started."""
    jobs, in_flight, gate = runtime.store.jobs, runtime.in_flight, runtime.gate
    reaper = Reaper(runtime.settings, runtime.store, gate, partial(fail, runtime))
    model_wait = ModelWait(runtime.settings, runtime.store, partial(fail, runtime))
    watchdog = Watchdog(jobs, runtime.consumption, lambda: runtime.could_take)
    orphans = Orphans(
        runtime.store, runtime.settings.orphan_seconds, partial(cancel, runtime.store)
    )
    overdue = Overdue(jobs, in_flight, replace_slot, runtime.slots)
    spending = SpendingWatch(runtime.fleet, runtime.settings, runtime.store)
    lease_seconds = runtime.settings.lease_seconds
    return LeaseHeartbeat(
        runtime.store, in_flight, lease_seconds,
        (
            *chores(runtime.store, reaper, model_wait, watchdog, lease_seconds),
            partial(collect_all, runtime.store),
            jobs.mend_backlog,
            partial(finish_fan_outs, runtime.store),
            orphans.end,
            overdue.look,
            spending.look,
        ),
    )  # fmt: skip


def afterwork_thread(runtime: WorkerRuntime) -> AfterworkThread:
    """A worker's thread for afterwork, not yet started.

    It also collects what other apps' workers put on their own broker for us.
    """
    store = runtime.store
    elsewhere = callback_redis(runtime.settings)
    chores = [] if elsewhere is None else [partial(collect, store, elsewhere)]
    return AfterworkThread(store.afterwork, lambda: app.backend, chores)


def _count_success(sender: Any = None, **_: Any) -> None:
    metrics.JOBS.labels(str(sender.name).removeprefix("llm."), "succeeded").inc()


def _count_failure(sender: Any = None, **_: Any) -> None:
    metrics.JOBS.labels(str(sender.name).removeprefix("llm."), "failed").inc()
