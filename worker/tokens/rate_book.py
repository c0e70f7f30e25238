"""The rates of all models that a worker runs, shared with other workers by Redis.

Nothing here waits for Redis more than once in `TELL_SECONDS`, and nothing fails without it: what
could not be told is told later, and estimates begin anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis

from local_llm_service.worker.store.token_rates import TokenRatesStore
from local_llm_service.worker.tokens.rates import TokenRates

logger = logging.getLogger(__name__)

#: Between two exchanges with Redis for one model.
TELL_SECONDS = 5.0


class RateBook:
    """Rates by model; threads share it. Without a store they are this process's alone."""

    def __init__(
        self, store: TokenRatesStore | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._rates: dict[str, TokenRates] = {}
        self._told_at: dict[str, float] = {}

    def of(self, model: str) -> TokenRates:
        """The rates of a model by its digest, or by its name where that is not known."""
        with self._lock:
            rates = self._rates.setdefault(model, TokenRates())
            is_due = model not in self._told_at
        if is_due:
            self.exchange(model)
        return rates

    def learn(self, model: str, text: str, tokens: int) -> None:
        """Note the tokens that a model has counted in a text; tell Redis from time to time."""
        self.of(model).learn(text, tokens)
        if self._clock() - self._told_at[model] >= TELL_SECONDS:
            self.exchange(model)

    def exchange(self, model: str) -> None:
        """Tell what was learned, and take over what all workers know; silent without Redis."""
        with self._lock:
            self._told_at[model] = self._clock()
        if self._store is None:
            return
        rates = self._rates[model]
        untold = rates.take_untold()
        try:
            rates.replace(self._store.add(model, untold))
        except redis.RedisError as error:
            rates.give_back(untold)
            logger.info("token rates stay in this process: %s", type(error).__name__)
