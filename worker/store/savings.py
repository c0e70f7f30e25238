"""The savings ledger in Redis: what each model did for whom, by day, model, tenant and route.

Scripts enter it in the step in which a job ends or money is spent (lua/shared/savings.lua), so that
nothing is entered twice and nothing is left out. All numbers are whole; money is in nanodollars.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from threading import Lock
from typing import Final

#: The tenant, or model and route, of what no longer has a row of its own on its day.
OTHERS: Final = "(others)"
#: More tokens than any answer has: what a server says beyond is not believed, so sums stay whole.
TOKENS_MOST: Final = 10**9

_SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")


class Column(StrEnum):
    """What is summed in a row of one day.

    Jobs, by how they ended; tokens of prompts and of completions; nanodollars.
    """

    #: Jobs that got an answer: their own generation's, one from the cache, that of another job.
    COMPUTED = "computed"
    CACHED = "cached"
    JOINED = "joined"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Tokens that engines read and wrote for answers, those of answers that came from the cache or
    #: from another job, and those that led to no answer.
    COMPUTED_PROMPT = "computed_prompt"
    COMPUTED_COMPLETION = "computed_completion"
    CACHED_PROMPT = "cached_prompt"
    CACHED_COMPLETION = "cached_completion"
    JOINED_PROMPT = "joined_prompt"
    JOINED_COMPLETION = "joined_completion"
    WASTED_PROMPT = "wasted_prompt"
    WASTED_COMPLETION = "wasted_completion"
    #: What one call of a paid model would have had for each answer that was delivered.
    DELIVERED_PROMPT = "delivered_prompt"
    DELIVERED_COMPLETION = "delivered_completion"
    #: What was paid for completions, and for calls of which none came.
    PAID_NANO_USD = "paid_nano_usd"
    WASTED_NANO_USD = "wasted_nano_usd"


def row_of(model: str, tenant: str, route: str) -> str:
    """The row of a model (its full name), a tenant and a route, each "" for none, as scripts take
    it."""
    return "\t".join((word(model), word(route), word(tenant)))


def tenant_of(cache_scope: str | None) -> str:
    """The tenant of a job: its cache scope up to the first slash; HTTP makes `tenant/own`."""
    return word((cache_scope or "").partition("/")[0])


class RunTokens:
    """Tokens that engines have read and written in one run, by model. A slot adds, any thread
    reads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_model: dict[str, tuple[int, int]] = {}

    def __contains__(self, model: str) -> bool:
        return word(model) in self._by_model

    def add(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Add what a model (its full name) has read and written."""
        model = word(model)
        with self._lock:
            prompt, completion = self._by_model.get(model, (0, 0))
            prompt += believed(prompt_tokens)
            self._by_model[model] = prompt, completion + believed(completion_tokens)

    def split(self, answered_by: str, wasted: tuple[int, int]) -> Iterator[tuple[str, list[int]]]:
        """Of each model four counts: of prompts and of completions, for the answer; both wasted.

        The tries that led to no answer were asked of other models than `answered_by` where there
        are any.
        """
        with self._lock:
            models = sorted(self._by_model.items(), key=lambda one: one[0] == word(answered_by))
        left = list(wasted)
        for model, made in models:
            lost = [min(one, other) for one, other in zip(made, left, strict=True)]
            left = [one - other for one, other in zip(left, lost, strict=True)]
            yield model, [made[0] - lost[0], made[1] - lost[1], *lost]


def believed(tokens: int) -> int:
    """A count of tokens as far as it is believed."""
    return min(max(tokens, 0), TOKENS_MOST)


def word(text: str) -> str:
    """A name as one word, so that rows and what is kept of answers can be taken apart again."""
    return _SPACES.sub("_", text).encode(errors="replace").decode()  # half a character, too
