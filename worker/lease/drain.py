"""A bounded end: on SIGTERM a worker takes no more jobs, and a job that runs too long goes back."""

from __future__ import annotations

import logging
import os
import threading

import redis

from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, Interrupted
from local_llm_service.worker.log_output import drain_output
from local_llm_service.worker.store.jobs import Jobs

logger = logging.getLogger(__name__)

#: After DRAIN_SECONDS, interrupted jobs end at once. A slot that takes longer than this hangs.
LATE_SECONDS = 10.0
#: Between two tries to put messages back.
TRY_SECONDS = 1.0


def drain(gate: Gate, in_flight: InFlightDeliveries, drain_seconds: float) -> None:
    """Take no more jobs; a job that still runs after `drain_seconds` goes back to its queue.

    Returns at once.
    """

    def interrupt() -> None:
        for one in in_flight.all():
            one.request_stop(Interrupted("the worker is shutting down"))

    gate.close(Reason.DRAINING)
    timer = threading.Timer(drain_seconds, interrupt)
    timer.daemon = True
    timer.start()


def end_late(
    jobs: Jobs, in_flight: InFlightDeliveries, ended: threading.Event, drain_seconds: float
) -> None:
    """End the process if it has not `ended` LATE_SECONDS after the drain: a slot hangs.

    Celery waits for every slot, and Python for every thread, however long. The messages go back
    first; while Redis cannot be reached, the process lives, as a slot may wait to store its answer.
    Returns at once.
    """

    def watch() -> None:
        if ended.wait(drain_seconds + LATE_SECONDS):
            return
        while not _put_back(jobs, in_flight):
            if ended.wait(TRY_SECONDS):
                return
        logger.critical("a slot does not end: the worker ends without it")
        drain_output()
        os._exit(1)

    threading.Thread(target=watch, name="end-late", daemon=True).start()


def _put_back(jobs: Jobs, in_flight: InFlightDeliveries) -> bool:
    """Put back all that this worker holds; False while Redis cannot do it."""
    try:
        for one in in_flight.all():
            jobs.release(one.delivery.task_id, one.delivery.token, work=one.work_so_far)
            in_flight.end(one.delivery.token)
    except redis.RedisError:
        return False
    return True
