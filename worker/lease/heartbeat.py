"""The lease heartbeat: a worker's own thread beside Celery. It renews leases and passes on cancels.

It has its own connection and lives until the process ends, so that a job keeps its lease while
Celery reconnects, and while a worker drains. Once a second it also does the chores that it is
given. Times are monotonic seconds of this process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from local_llm_service.worker.errors import Cancelled
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, Interrupted
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
#: With the tick that it waits for, chores are done within a second.
CHORES_SECONDS = 0.7
#: Shares of the lease: renewed often, so that nearly all of STOP_SHARE is there for an outage (with
#: a quarter instead, a Redis that was frozen for 12 of 20 s made all that ran start anew).
RENEW_SHARE = 1 / 20
STOP_SHARE = 2 / 3


class LeaseHeartbeat:
    """Start it once per worker. `chores` run about once a second while Redis answers."""

    def __init__(
        self,
        store: Store,
        in_flight: InFlightDeliveries,
        lease_seconds: float,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._jobs, self._client = store.jobs, store.client
        self._cancel_channel = store.keys.cancel_channel
        self._in_flight, self._lease, self._chores = in_flight, lease_seconds, chores
        self._listener: Any = None
        self._reaches_redis = False
        self._renewed_at = time.monotonic()
        self._chores_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, when nothing is held any more."""
        self._stopped.set()
        self._thread.join(timeout=5)
        for task_id, token in self._in_flight.due_releases():
            try:
                self._jobs.release(task_id, token)
            except redis.RedisError:
                logger.warning("job %s is not put back: its lease has to run out", task_id)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._tick()
            except redis.RedisError as error:  # also LOADING or OOM: it answers, but renews nothing
                self._redis_is_away(error)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                # Whatever is wrong with one chore, the leases must go on.
                logger.critical("lease heartbeat: unexpected %s", type(error).__name__)
                self._stopped.wait(TICK_SECONDS)

    def _tick(self) -> None:
        now = time.monotonic()
        if not self._reaches_redis:
            self.renew()
            self._reaches_redis = True
        if now - self._renewed_at >= self._lease * RENEW_SHARE:
            self.renew()
        self.release_due()
        if now - self._chores_at >= CHORES_SECONDS:
            self._chores_at = now
            for chore in self._chores:
                chore()
        self.listen()

    def renew(self) -> None:
        """Renew all leases; stop what was lost or cancelled. Raises redis-py's errors."""
        held = self._in_flight.all()
        deliveries = [one.delivery for one in held]
        lost, cancelled = self._jobs.renew((one.task_id, one.tag, one.token) for one in deliveries)
        self._renewed_at = time.monotonic()
        for one in held:
            token = one.delivery.token
            if token in lost and self._in_flight.get(token) is one:
                one.request_stop(Interrupted("the lease is in other hands"))
            if token in cancelled:
                one.request_stop(Cancelled("the job was cancelled"))

    def listen(self) -> None:
        """Wait a tick for the id of a job that somebody cancels. Raises redis-py's errors."""
        if self._listener is None:
            self._listener = self._client.pubsub(ignore_subscribe_messages=True)
            self._listener.subscribe(self._cancel_channel)
        message = self._listener.get_message(timeout=TICK_SECONDS)
        while message is not None:
            for one in self._in_flight.of_job(str(message["data"])):
                one.request_stop(Cancelled("the job was cancelled"))
            message = self._listener.get_message(timeout=0)

    def release_due(self) -> None:
        """Put back what could not be put back before. Raises redis-py's errors."""
        for task_id, token in self._in_flight.due_releases():
            try:
                self._jobs.release(task_id, token)
            except redis.RedisError:
                self._in_flight.release_later(task_id, token)
                raise

    def _redis_is_away(self, error: Exception) -> None:
        if self._reaches_redis:
            logger.warning("lease heartbeat: Redis is away: %s", type(error).__name__)
        self._reaches_redis = False
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if time.monotonic() - self._renewed_at > self._lease * STOP_SHARE:
            # Others may soon be given these jobs: stop before two run.
            for one in self._in_flight.all():
                one.request_stop(Interrupted("Redis was away for most of a lease"))
        self._stopped.wait(TICK_SECONDS)
