"""What all workers have learned of each model's tokens, by class of characters.

Numbers only, and no text: bytes that were seen, and how many tokens they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from local_llm_service.worker.store.bounds import TOKEN_RATES_SECONDS
from local_llm_service.worker.store.scripts import Scripts


class TokenRatesStore:
    """One hash for each model. Raises redis-py's errors."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def add(self, model: str, learned: Mapping[str, int]) -> dict[str, int]:
        """Add numbers to what is known of a model, and return all of it; one round trip.

        Sent twice, they count twice: rates are what they were.
        """
        key = f"{self._scripts.keys.token_rates}{model}"
        with self._scripts.client.pipeline(transaction=True) as calls:
            for field, number in learned.items():
                calls.hincrby(key, field, number)
            if learned:
                calls.expire(key, TOKEN_RATES_SECONDS)
            calls.hgetall(key)
            known = cast(Mapping[Any, Any], calls.execute()[-1])
        return {str(field): int(number) for field, number in known.items()}
