"""The numbers of a batch: over all its runs in the ledger, and of this run alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fleet.price import NANO_PER_USD, Price


@dataclass
class Tally:
    """Counts of lines, tokens and seconds. `cached` and `joined` are among `answered`.

    `failed` counts failures as they came; a line that failed and was answered later is in both.
    `tokens_saved` is of kinds that shorten a text. `errors` counts by code.
    """

    answered: int = 0
    failed: int = 0
    cached: int = 0
    joined: int = 0
    tokens_saved: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> Self:
        """The tally that a ledger holds; nothing, of a new one."""
        if kept is None:
            return cls()
        return cls(**{**kept, "errors": Counter(kept["errors"])})

    def plain(self) -> dict[str, Any]:
        """What a ledger or a report holds of it."""
        return {**asdict(self), "errors": dict(self.errors), "seconds": round(self.seconds, 1)}

    def count_answer(self, answer: Answer) -> None:
        """Count one answered line."""
        self.answered += 1
        self.cached += answer.origin == "cached"
        self.joined += answer.origin == "joined"
        self.tokens_saved += getattr(answer, "tokens_saved", 0)
        self.prompt_tokens += answer.usage.prompt_tokens
        self.completion_tokens += answer.usage.completion_tokens

    def count_failure(self, error: ServiceError) -> None:
        """Count one failed line."""
        self.failed += 1
        self.errors[error.code] += 1

    def lines_a_minute(self) -> float:
        """Lines that ended, by minutes of running; nan before the first second."""
        return (self.answered + self.failed) * 60 / self.seconds if self.seconds >= 1 else math.nan

    def worth_usd(self, price: Price) -> float:
        """What as many tokens would cost at this price; see `local-llm stats`."""
        return price.nano_usd(self.prompt_tokens, self.completion_tokens) / NANO_PER_USD
