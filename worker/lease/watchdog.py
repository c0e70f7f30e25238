"""Watches consumption, not the process: jobs wait, a slot is free, and still no job is taken.

That must not happen. If it does, a worker that its supervisor restarts is better than one that
looks alive and does nothing. The worker puts its messages back before it ends.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

from local_llm_service.worker.lease.consumption import Consumption
from local_llm_service.worker.store.jobs import Jobs

logger = logging.getLogger(__name__)

#: Several times longer than any reconnection takes.
STUCK_SECONDS = 60.0
#: Looks are a second apart; after a longer pause the time is counted from zero again.
PAUSE_SECONDS = 10.0


class Watchdog:
    """Ends the process (SIGTERM: a drain) when it no longer consumes.

    `could_take` says whether this worker takes jobs now: its gate is open, a slot is free, and it
    does not hold back for a suspect.
    """

    def __init__(
        self, jobs: Jobs, consumption: Consumption, could_take: Callable[[], bool]
    ) -> None:
        self._jobs, self._consumption, self._could_take = jobs, consumption, could_take
        self._fine_at = self._looked_at = time.monotonic()

    def look(self) -> None:
        """Check consumption; the lease heartbeat calls this once a second while Redis answers."""
        now = time.monotonic()
        if now - self._looked_at > PAUSE_SECONDS:
            self._fine_at = now  # Redis was away: no job could be taken
        self._looked_at = now
        if self._consumption.found_since(self._fine_at) or not self._should_take():
            self._fine_at = now
        elif now - self._fine_at > STUCK_SECONDS:
            logger.critical("jobs wait and slots are free, but no job is taken: restarting")
            os.kill(os.getpid(), signal.SIGTERM)
            self._fine_at = now

    def _should_take(self) -> bool:
        if not self._could_take():
            return False
        return self._jobs.untaken(self._consumption.queues) > 0
