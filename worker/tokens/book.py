"""What is known of the tokens of all models that a worker runs; rates are shared through Redis.

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
from local_llm_service.worker.tokens.model_tokens import ModelTokens

logger = logging.getLogger(__name__)

#: Between two exchanges with Redis for one model.
TELL_SECONDS = 5.0


class TokenBook:
    """What is known by model; threads share it. Without a store it is this process's alone."""

    def __init__(
        self, store: TokenRatesStore | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._models: dict[str, ModelTokens] = {}
        self._told_at: dict[str, float] = {}

    def of(self, model: str) -> ModelTokens:
        """What is known of a model by its digest, or by its name where that is not known."""
        with self._lock:
            is_new = model not in self._models
            known = self._models.setdefault(model, ModelTokens())
            if is_new:
                self._told_at[model] = self._clock()
        if is_new:
            self._exchange(model, known)
        return known

    def learn(self, model: str, text: str, tokens: int) -> None:
        """Note the tokens that a model has counted in a text; tell Redis from time to time."""
        known = self.of(model)
        known.rates.learn(text, tokens)
        with self._lock:
            is_due = self._clock() - self._told_at[model] >= TELL_SECONDS
            if is_due:
                self._told_at[model] = self._clock()
        if is_due:
            self._exchange(model, known)

    def _exchange(self, model: str, known: ModelTokens) -> None:
        """Tell what was learned, and take over what all workers know."""
        if self._store is None:
            return
        untold = known.rates.take_untold()
        try:
            known.rates.replace(self._store.add(model, untold))
        except redis.RedisError as error:
            known.rates.give_back(untold)
            logger.info("token rates stay in this process: %s", type(error).__name__)
