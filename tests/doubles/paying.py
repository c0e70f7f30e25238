"""What tests of paid models know: the price of every model, and what this day has cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.store.spending import Spending
from local_llm_service.worker.store.store import process_store

#: A dollar for a million tokens.
PRICE = Price(Decimal(1), Decimal(1))
NANO_PER_TOKEN = 1000


def spent() -> Spending:
    """What this day has cost."""
    return process_store().spending.spending()[0]


def answer_of(job: Any) -> dict[str, Any]:
    """Wait for a job's answer."""
    found: dict[str, Any] = job.get(timeout=10)
    return found


def tokens_of(answer: Mapping[str, Any]) -> int:
    """All tokens of an answer."""
    usage = answer["usage"]
    return int(usage["prompt_tokens"]) + int(usage["completion_tokens"])
