"""Replaces a slot that does not end: past its job's deadline, or told to stop, plus a grace.

A thread of Python cannot be ended from outside. So the message goes back: the next take finds the
deadline passed, or the cancel, and ends the job in the usual way, with its chord and its dead
letter. Whatever still hangs in the old slot can store nothing, as its fencing token is old.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

from local_llm_service.worker.errors import DeadlineExceeded
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, InFlightDelivery
from local_llm_service.worker.metrics import SLOTS_REPLACED
from local_llm_service.worker.store.jobs import Jobs

logger = logging.getLogger(__name__)

#: An engine's stream, a program and a try to store a result end within two seconds.
GRACE_SECONDS = 10.0
#: Looks are a second apart; after a longer pause the time is counted from zero again: Redis was
#: away, and a slot could store nothing.
PAUSE_SECONDS = 5.0


class Overdue:
    """Looks at a worker's in-flight deliveries.

    `replace_slot` adds a slot to the pool. Once as many slots as there are (`slots`) have been
    replaced, the process ends (SIGTERM: a drain): a supervisor starts it afresh.
    """

    def __init__(
        self,
        jobs: Jobs,
        in_flight: InFlightDeliveries,
        replace_slot: Callable[[], None],
        slots: int,
    ) -> None:
        self._jobs, self._in_flight = jobs, in_flight
        self._replace_slot, self._slots = replace_slot, slots
        self._late_since: dict[str, float] = {}
        self._looked_at = time.monotonic()
        self._replaced = 0

    def look(self) -> None:
        """Replace late slots; the heartbeat calls this each second. Raises redis-py's errors."""
        now = time.monotonic()
        late = [one for one in self._in_flight.all() if _is_late(one)]
        before = {} if now - self._looked_at > PAUSE_SECONDS else self._late_since
        self._looked_at = now
        tokens = [one.delivery.token for one in late]
        self._late_since = {token: before.get(token, now) for token in tokens}
        for one in late:
            if now - self._late_since[one.delivery.token] >= GRACE_SECONDS:
                self._replace(one)

    def _replace(self, one: InFlightDelivery) -> None:
        task_id, token = one.delivery.task_id, one.delivery.token
        # If Redis cannot write now, the slot may be waiting for just that: then this raises.
        self._jobs.release(task_id, token, work=one.work_so_far)
        self._in_flight.end(token)
        self._replaced += 1
        SLOTS_REPLACED.inc()
        logger.critical(
            "job %s: its slot does not end; the job goes back and the slot is replaced", task_id
        )
        self._replace_slot()
        if self._replaced == self._slots:
            logger.critical("%s slots did not end: restarting", self._slots)
            os.kill(os.getpid(), signal.SIGTERM)


def _is_late(one: InFlightDelivery) -> bool:
    if one.reason is None and one.wanted_for() <= 0:
        one.request_stop(DeadlineExceeded("the deadline passed while the job was running"))
    return one.reason is not None
