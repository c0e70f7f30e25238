"""The worker's own thread beside Celery: renews leases, wakes and sweeps, passes on cancels.

It has its own connection and lives until the process ends, so that a job keeps its lease while
Celery reconnects, and while a worker drains. Times are monotonic seconds of this process.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis

from local_llm_service.worker.errors import Cancelled
from local_llm_service.worker.intake.gate import GATE, Reason
from local_llm_service.worker.lease.in_flight import HOLDINGS, Interrupted
from local_llm_service.worker.lease.reaper import Overdue
from local_llm_service.worker.lease.watchdog import Watchdog
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys, local
from local_llm_service.worker.store.jobs import Jobs

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
CHORES_SECONDS = 1.0
#: Workers note their contact once a second; a shorter pause than this is none.
SHORTEST_GAP_SECONDS = 2.5
#: Shares of the lease: renewed often, so that nearly all of STOP_SHARE is there for an outage (with
#: a quarter instead, a Redis that was frozen for 12 of 20 s made all that ran start anew).
RENEW_SHARE = 1 / 20
STOP_SHARE = 2 / 3


class Keeper:
    """Start it once per worker process."""

    def __init__(self, settings: Settings, jobs: Jobs, backend: Any) -> None:
        self._settings, self._jobs = settings, jobs
        self._lease = settings.lease_seconds
        self._overdue = Overdue(jobs, local.flights(), backend, settings)
        self._watchdog = Watchdog(jobs)
        self._listener: redis.client.PubSub | None = None
        self._in_contact = False
        self._renewed_at = time.monotonic()
        self._chores_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, when nothing is held any more."""
        self._stopped.set()
        self._thread.join(timeout=5)
        for task_id, token in HOLDINGS.due_releases():
            try:
                self._jobs.release(task_id, token)
            except redis.RedisError:
                logger.warning("job %s is not put back: its lease has to run out", task_id)

    def drain(self) -> None:
        """Take nothing more; what still runs after DRAIN_SECONDS goes back to its queue."""
        GATE.close(Reason.DRAINING)
        timer = threading.Timer(self._settings.drain_seconds, self._end_of_drain)
        timer.daemon = True
        timer.start()

    def _end_of_drain(self) -> None:
        for held in HOLDINGS.all():
            held.request_stop(Interrupted("the worker is shutting down"))

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._tick()
            except redis.RedisError as error:  # also LOADING or OOM: it answers, but renews nothing
                self._out_of_contact(error)
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                # Whatever is wrong with one chore, the leases must go on.
                logger.critical("keeper: unexpected %s", type(error).__name__)
                self._stopped.wait(TICK_SECONDS)

    def _tick(self) -> None:
        now = time.monotonic()
        if not self._in_contact:
            self._renew()
            self._in_contact = True
        if now - self._renewed_at >= self._lease * RENEW_SHARE:
            self._renew()
        for task_id, token in HOLDINGS.due_releases():
            self._release(task_id, token)
        if now - self._chores_at >= CHORES_SECONDS:
            self._chores_at = now
            self._chores()
        self._listen()

    def _chores(self) -> None:
        self._jobs.wake_deferred(keys.queue_of("normal"))
        self._overdue.expire()
        if self._may_sweep():
            self._overdue.sweep()
        self._overdue.answer()
        self._watchdog.look()

    def _may_sweep(self) -> bool:
        """Only when Redis has been up, and in contact with some worker, for one full lease.

        Else a Redis that comes back would hand everything that runs to others before the workers
        that run it have had the time to renew. Not this worker's own contact alone: where workers
        are killed and started again quickly, nobody would be old enough to sweep.
        """
        gap = max(SHORTEST_GAP_SECONDS, self._lease / 4)
        if self._jobs.contact_seconds(longest_gap_seconds=gap) < self._lease:
            return False
        uptime = self._jobs.client.info("server")["uptime_in_seconds"]
        return float(uptime) >= self._lease

    def _renew(self) -> None:
        held = HOLDINGS.all()
        triples = [(one.taken.task_id, one.taken.tag, one.taken.token) for one in held]
        lost, cancelled = self._jobs.renew(triples)
        self._renewed_at = time.monotonic()
        for one in held:
            if one.taken.token in lost and HOLDINGS.get(one.taken.token) is one:
                one.request_stop(Interrupted("the lease is in other hands"))
            if one.taken.token in cancelled:
                one.request_stop(Cancelled("the job was cancelled"))

    def _listen(self) -> None:
        """Wait a tick for the id of a job that somebody cancels."""
        if self._listener is None:
            self._listener = self._jobs.client.pubsub(ignore_subscribe_messages=True)
            self._listener.subscribe(keys.CANCEL_CHANNEL)
        message = self._listener.get_message(timeout=TICK_SECONDS)
        while message is not None:
            for held in HOLDINGS.of_job(str(message["data"])):
                held.request_stop(Cancelled("the job was cancelled"))
            message = self._listener.get_message(timeout=0)

    def _out_of_contact(self, error: Exception) -> None:
        if self._in_contact:
            logger.warning("keeper: no contact with Redis: %s", type(error).__name__)
        self._in_contact = False
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if time.monotonic() - self._renewed_at > self._lease * STOP_SHARE:
            # Others may soon be given these jobs: stop before two run.
            for held in HOLDINGS.all():
                held.request_stop(Interrupted("no contact with Redis for most of a lease"))
        self._stopped.wait(TICK_SECONDS)

    def _release(self, task_id: str, token: str) -> None:
        try:
            self._jobs.release(task_id, token)
        except redis.RedisError:
            HOLDINGS.release_later(task_id, token)
            raise
