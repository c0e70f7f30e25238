"""Looks at consumption, not at the process: jobs wait, a slot is free, and still nothing is taken.

That must not happen. Should it, a worker that is started anew by its supervisor is better than one
that looks alive and does nothing: what it holds goes back first.
"""

from __future__ import annotations

import logging
import os
import signal
import time

from local_llm_service.worker.intake.gate import GATE
from local_llm_service.worker.lease.in_flight import HOLDINGS
from local_llm_service.worker.store import local
from local_llm_service.worker.store.jobs import Jobs

logger = logging.getLogger(__name__)

#: Several times longer than any reconnection takes.
STUCK_SECONDS = 60.0
#: Looks are a second apart; after a longer pause the time begins anew.
PAUSE_SECONDS = 10.0


class Watchdog:
    """Ends the process (SIGTERM: a drain) when it has stopped to consume."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._fine_at = self._looked_at = time.monotonic()

    def look(self) -> None:
        """Called about once a second while Redis answers."""
        now = time.monotonic()
        if now - self._looked_at > PAUSE_SECONDS:
            self._fine_at = now  # Redis was away: nothing could be taken
        self._looked_at = now
        if local.taken_since(self._fine_at) or not self._should_take():
            self._fine_at = now
        elif now - self._fine_at > STUCK_SECONDS:
            logger.critical("jobs wait, slots are free and nothing is taken: restarting")
            os.kill(os.getpid(), signal.SIGTERM)
            self._fine_at = now

    def _should_take(self) -> bool:
        if not GATE.is_open or len(HOLDINGS) >= local.slots():
            return False
        with self._jobs.client.pipeline(transaction=False) as pipe:
            for queue in local.queues():
                pipe.llen(queue)
            return any(pipe.execute())
