"""Finishes fan-outs whose settler died, or lost Redis, before all waiters had their answer."""

from __future__ import annotations

import time

from local_llm_service.worker.store.store import Store

#: A settler goes on at once; after so long nobody does.
IDLE_SECONDS = 1.0
#: Leases must be renewed in between.
LONGEST_SECONDS = 0.2


def finish_fan_outs(store: Store, idle_seconds: float = IDLE_SECONDS) -> None:
    """Answer waiters of open fan-outs for a moment; the rest comes with the next call.

    Raises redis-py's errors.
    """
    end = time.monotonic() + LONGEST_SECONDS
    for fan_out in store.jobs.open_fan_outs(idle_seconds):
        left = 1
        while left and time.monotonic() < end:
            left, *_ = store.jobs.answer_waiters(fan_out)
