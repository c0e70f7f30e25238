"""The chores that every worker does for all jobs once a second, on its lease heartbeat's thread."""

from __future__ import annotations

from collections.abc import Callable

from local_llm_service.worker.lease.model_wait import ModelWait
from local_llm_service.worker.lease.reaper import AT_ONCE, Reaper
from local_llm_service.worker.lease.turns import turn
from local_llm_service.worker.lease.watchdog import Watchdog
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import Store

#: Each worker records once a second that it reaches Redis; only a longer silence than this counts
#: as an outage.
SHORTEST_GAP_SECONDS = 2.5


def chores(
    store: Store,
    reaper: Reaper,
    model_wait: ModelWait,
    watchdog: Watchdog,
    lease_seconds: float,
) -> tuple[Callable[[], object], ...]:
    """The chores in their order. Each raises redis-py's errors."""

    def wake_deferred() -> None:
        turn(lambda: store.jobs.wake_deferred(keys.queue_of("normal"), AT_ONCE) == AT_ONCE)

    def expire() -> None:
        turn(reaper.expire)

    def sift() -> None:
        turn(lambda: store.endings.sift(keys.QUEUES) > 0)

    def reap() -> None:
        if may_reap(store, lease_seconds):
            turn(reaper.reap)

    return (wake_deferred, expire, sift, model_wait.end, reap, reaper.answer, watchdog.look)


def may_reap(store: Store, lease_seconds: float) -> bool:
    """Whether Redis has been up, and some worker has reached it, for one full lease.

    Otherwise the workers would reap every running job when Redis comes back, before the owners have
    had time to renew. It need not be this worker that reached Redis: where workers are killed and
    started again quickly, none of them would be old enough to reap.
    """
    gap = max(SHORTEST_GAP_SECONDS, lease_seconds / 4)
    return store.jobs.redis_up_seconds(longest_gap_seconds=gap) >= lease_seconds
