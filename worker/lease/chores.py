"""What every worker does for all jobs once a second, on its lease heartbeat's thread."""

from __future__ import annotations

from collections.abc import Callable

from local_llm_service.worker.lease.reaper import Reaper
from local_llm_service.worker.lease.watchdog import Watchdog
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import Store

#: Workers note that they reach Redis once a second; a shorter pause than this is none.
SHORTEST_GAP_SECONDS = 2.5


def chores(
    store: Store, reaper: Reaper, watchdog: Watchdog, lease_seconds: float
) -> tuple[Callable[[], object], ...]:
    """In their order. Each raises redis-py's errors."""

    def wake_deferred() -> None:
        store.jobs.wake_deferred(keys.queue_of("normal"))

    def reap() -> None:
        if may_reap(store, lease_seconds):
            reaper.reap()

    return (wake_deferred, reaper.expire, reap, reaper.answer, watchdog.look)


def may_reap(store: Store, lease_seconds: float) -> bool:
    """Whether Redis has been up, and some worker has reached it, for one full lease.

    Else a Redis that comes back would hand everything that runs to others before the workers that
    run it have had the time to renew. It need not be this worker: where workers are killed and
    started again quickly, none would be old enough to reap.
    """
    gap = max(SHORTEST_GAP_SECONDS, lease_seconds / 4)
    if store.jobs.redis_up_seconds(longest_gap_seconds=gap) < lease_seconds:
        return False
    uptime = store.client.info("server")["uptime_in_seconds"]
    return float(uptime) >= lease_seconds
