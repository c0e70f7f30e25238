"""Tells a worker's metrics what paid models may still cost, and ends bookings that nobody ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from local_llm_service.worker import metrics
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.fleet.price import usd_of
from local_llm_service.worker.fleet.remote_budget import RemoteBudget
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.store import Store

#: Between two looks, s.
LOOK_SECONDS = 10.0


class SpendingWatch:
    """A chore; it does nothing where no model of the worker has a price."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises InvalidSetting where paid models have no budget."""
        models = [model for engine in fleet.engines for model in engine.models]
        has_prices = any(model.price and not model.price.is_free for model in models)
        self._budget = RemoteBudget.of(settings) if has_prices else None
        self._store, self._clock = store, clock
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Look, if it is time to. Raises redis-py's errors."""
        now = self._clock()
        if self._budget is None or now - self._looked_at < LOOK_SECONDS:
            return
        day, month = self._store.spending.spending()
        self._looked_at = now
        for word, most, spent in (
            ("day", self._budget.day, day),
            ("month", self._budget.month, month),
        ):
            if most is not None:
                left = usd_of(max(0, most - spent.committed))
                metrics.REMOTE_BUDGET_LEFT.labels(word).set(float(left))
