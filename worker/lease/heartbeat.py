"""The lease heartbeat: a worker's thread beside Celery that renews leases and passes on cancels.

The thread has its own connection and lives until the process ends, so that a job keeps its lease
while Celery reconnects and while the worker drains. Once a second it also does the chores that it
was given. Times are monotonic seconds of this process.
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
#: With the tick before them, chores run within a second.
CHORES_SECONDS = 0.7
#: Shares of the lease. Frequent renewal leaves nearly all of STOP_SHARE for an outage (with renewal
#: each quarter, a Redis that froze for 12 of 20 s made every running job start again).
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
        *,
        tick_seconds: float = TICK_SECONDS,
        chores_seconds: float = CHORES_SECONDS,
    ) -> None:
        self._jobs, self._client = store.jobs, store.client
        self._channels = (store.keys.cancel_channel, store.keys.text_wanted_channel)
        self._in_flight, self._lease, self._chores = in_flight, lease_seconds, chores
        self._tick_seconds, self._chores_seconds = tick_seconds, chores_seconds
        self._listener: Any = None
        #: Chores that Redis refused the last time: said once.
        self._refused: set[int] = set()
        self._reaches_redis = False
        self._renewed_at = time.monotonic()
        self._chores_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread once no delivery is in flight, and put back what is due."""
        self._stopped.set()
        self._thread.join(timeout=5)
        for due in self._in_flight.due_releases():
            try:
                self._jobs.release(due.task_id, due.token, **due.options)
            except redis.RedisError:
                logger.warning(
                    "job %s not put back: it waits until its lease runs out", due.task_id
                )

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._tick()
            except redis.RedisError as error:  # also LOADING and OOM: Redis answers, renews nothing
                self._redis_is_away(error)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                # Leases must be renewed whatever is wrong with one chore.
                logger.critical("lease heartbeat: unexpected %s", type(error).__name__)
                self._stopped.wait(self._tick_seconds)
        if self._listener is not None:
            # Its process may live on: a test's, for example.
            self._listener.close()

    def _tick(self) -> None:
        now = time.monotonic()
        if not self._reaches_redis:
            self.renew()
            self._reaches_redis = True
        self._renew_in_time()
        self.release_due()
        if now - self._chores_at >= self._chores_seconds:
            self._chores_at = now
            self._do_chores()
        self.listen()

    def _do_chores(self) -> None:
        """Do one chore after the other, and renew leases between them when it is time.

        What Redis refuses to one (it is full, a key has another type) does not stop the next.
        """
        for number, chore in enumerate(self._chores):
            try:
                chore()
                self._refused.discard(number)
            except redis.ResponseError as error:
                if number not in self._refused:
                    logger.warning("Redis refuses a chore: %s", type(error).__name__)
                self._refused.add(number)
            self._renew_in_time()

    def _renew_in_time(self) -> None:
        if time.monotonic() - self._renewed_at >= self._lease * RENEW_SHARE:
            self.renew()

    def renew(self) -> None:
        """Renew all leases; stop jobs that were lost or cancelled. Raises redis-py's errors."""
        all_in_flight = self._in_flight.all()
        deliveries = [one.delivery for one in all_in_flight]
        lost, cancelled = self._jobs.renew((one.task_id, one.tag, one.token) for one in deliveries)
        self._renewed_at = time.monotonic()
        for one in all_in_flight:
            token = one.delivery.token
            if token in lost and self._in_flight.get(token) is one:
                one.request_stop(Interrupted("this worker has lost the lease"))
            if token in cancelled:
                one.request_stop(Cancelled("the job was cancelled"))

    def listen(self) -> None:
        """Wait one tick for ids of cancelled jobs, and look at their records; also for ids of jobs
        whose text somebody wants.

        What is heard on a channel is a hint: only what the record says stops a job. Raises
        redis-py's errors.
        """
        if self._listener is None:
            self._listener = self._client.pubsub(ignore_subscribe_messages=True)
            self._listener.subscribe(*self._channels)
        message, is_ours = self._listener.get_message(timeout=self._tick_seconds), False
        while message is not None:
            is_ours = self._hear(message) or is_ours
            message = self._listener.get_message(timeout=0)
        if is_ours:
            self.renew()

    def _hear(self, message: dict[str, Any]) -> bool:
        """Whether one of the jobs in flight may have been cancelled."""
        meant = self._in_flight.of_job(str(message["data"]))
        if message["channel"] == self._channels[0]:
            return bool(meant)
        for one in meant:
            one.want_text()
        return False

    def release_due(self) -> None:
        """Put back the messages that could not be put back before. Raises redis-py's errors."""
        for due in self._in_flight.due_releases():
            try:
                self._jobs.release(due.task_id, due.token, **due.options)
            except redis.RedisError:
                self._in_flight.release_later(due)
                raise

    def _redis_is_away(self, error: Exception) -> None:
        if self._reaches_redis:
            logger.warning("lease heartbeat: Redis is away: %s", type(error).__name__)
        self._reaches_redis = False
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if time.monotonic() - self._renewed_at > self._lease * STOP_SHARE:
            # Other workers may soon take these jobs: stop before two workers run one.
            for one in self._in_flight.all():
                one.request_stop(Interrupted("Redis was away for most of a lease"))
        self._stopped.wait(self._tick_seconds)
