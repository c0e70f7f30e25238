"""Runs jobs in the process of their callers, in its own threads, for the tests of callers.

Takes, runs and settles a job by the functions and Celery's tracer that a worker uses; only
Celery's event loop and pool are not there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import redis
from celery.app.trace import trace_task_ret

from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.afterwork import AfterworkThread
from local_llm_service.worker.celery_ext.control import cancel
from local_llm_service.worker.celery_ext.result_backend import fail
from local_llm_service.worker.celery_ext.transport import prepared, refuse, take_next
from local_llm_service.worker.lease.fan_outs import finish_fan_outs
from local_llm_service.worker.lease.heartbeat import LeaseHeartbeat
from local_llm_service.worker.lease.in_flight import Interrupted
from local_llm_service.worker.lease.model_wait import ModelWait
from local_llm_service.worker.lease.orphans import Orphans
from local_llm_service.worker.lease.reaper import AT_ONCE, Reaper
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.outcomes import Delivery

logger = logging.getLogger(__name__)

#: How long a slot waits for a ring before it looks by itself, and for Redis to come back.
RING_SECONDS = 1
AWAY_SECONDS = 0.05
#: A worker does so four times and once a second: here a test waits for it.
TICK_SECONDS = 0.02
CHORES_SECONDS = 0.05


class InProcessWorker:
    """A worker whose slots are threads of this process; `stop` ends all of them."""

    def __init__(self, runtime: WorkerRuntime) -> None:
        self._runtime, self._store = runtime, runtime.store
        self._taking = threading.Lock()
        self._stopped = threading.Event()
        self._publisher = runtime.publisher()
        self._heartbeat = LeaseHeartbeat(
            runtime.store,
            runtime.in_flight,
            runtime.settings.lease_seconds,
            _chores(runtime),
            tick_seconds=TICK_SECONDS,
            chores_seconds=CHORES_SECONDS,
        )
        self._afterwork = AfterworkThread(runtime.store.afterwork, lambda: app.backend, ())
        runtime.nudge_afterwork = self._afterwork.nudge
        self._slots = [
            threading.Thread(target=self._work, name=f"local-llm-slot-{n}", daemon=True)
            for n in range(runtime.slots)
        ]

    def start(self) -> None:
        """Publish this worker and begin to take jobs. Raises redis-py's errors."""
        self.publish()
        self._publisher.start()
        self._heartbeat.start()
        self._afterwork.start()
        for slot in self._slots:
            slot.start()

    def publish(self) -> None:
        """Say now which models are served, and look for their jobs. Raises redis-py's errors."""
        self._publisher.publish(self._publisher.observe().model_dump_json())
        self._ring()

    def stop(self) -> None:
        """Put running jobs back and end all threads, at once."""
        self._stopped.set()
        for one in self._runtime.in_flight.all():
            one.request_stop(Interrupted("the worker of this process stops"))
        with suppress(redis.RedisError):  # the slots look by themselves
            self._ring()
        for slot in self._slots:
            slot.join(timeout=5)
        self._runtime.text_writer.stop()
        self._afterwork.stop()
        self._heartbeat.stop()
        self._publisher.stop()

    def _ring(self) -> None:
        self._store.client.lpush(self._store.keys.doorbell, *"." * len(self._slots))

    def _work(self) -> None:
        """Run one job after the other."""
        while not self._stopped.is_set():
            try:
                if not self._run_next():
                    self._wait_for_ring()
            except redis.RedisError:
                self._stopped.wait(AWAY_SECONDS)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                logger.critical("slot: unexpected %s", type(error).__name__)
                self._stopped.wait(AWAY_SECONDS)

    def _wait_for_ring(self) -> None:
        served = map(self._store.keys.bell_of, self._runtime.served.rings())
        self._store.client.brpop([self._store.keys.doorbell, *served], timeout=RING_SECONDS)

    def _run_next(self) -> bool:
        """Take the most urgent job and run it; False where there is none."""
        runtime = self._runtime
        with self._taking:
            if self._stopped.is_set() or not runtime.gate.may_end_jobs or not runtime.has_free_slot:
                return False
            delivery = take_next(runtime, keys.QUEUES)
            if delivery is None:
                return False
            in_flight = runtime.in_flight.add(delivery)
        message = prepared(runtime, in_flight)
        if message is not None:
            _trace(runtime, delivery, message)
        return True


def _trace(runtime: WorkerRuntime, delivery: Delivery, message: dict[str, Any]) -> None:
    """Run a message as a slot of Celery's worker does, and end its delivery."""
    headers = message["headers"]
    if headers["task"] not in app.tasks:
        refuse(runtime, delivery, "no task of this name here")
        return
    request = {
        **headers,
        "ignore_result": False,
        "argsrepr": "-",
        "kwargsrepr": "-",
        "shadow": None,
        "delivery_info": {"routing_key": delivery.queue, "redelivered": delivery.crashes > 0},
        "reply_to": message["properties"].get("reply_to"),
    }
    text = plain_json.body_text(message)
    kind, encoding = message["content-type"], message["content-encoding"]
    try:
        trace_task_ret(headers["task"], headers["id"], request, text, kind, encoding, app=app)
    except Exception as error:  # noqa: BLE001  # no message may end a slot
        logger.error("job %s: message refused: %s", delivery.task_id, type(error).__name__)
        refuse(runtime, delivery)
    in_flight = runtime.in_flight.get(delivery.token)
    if in_flight is not None:  # it has no result
        attempts = in_flight.delivery.attempts + 1
        runtime.release(
            delivery.task_id, delivery.token, attempts=attempts, work=in_flight.work_so_far
        )


def _chores(runtime: WorkerRuntime) -> tuple[Callable[[], object], ...]:
    """What a worker does for all jobs, as far as one worker alone that never dies has to."""
    store, settings = runtime.store, runtime.settings

    def end(task_id: str, error: Any) -> Any:
        return fail(runtime, task_id, error)

    reaper = Reaper(settings, store, runtime.gate, end)
    return (
        lambda: store.jobs.wake_deferred(keys.queue_of("normal"), AT_ONCE),
        reaper.expire,
        lambda: store.endings.sift(keys.QUEUES),
        ModelWait(settings, store, end).end,
        lambda: finish_fan_outs(store),
        Orphans(store, settings.orphan_seconds, partial(cancel, store)).end,
    )
