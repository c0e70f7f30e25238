"""The savings ledger in Redis: what each model did for whom, by day, model, tenant and route.

Scripts enter it in the step in which a job ends or money is spent (lua/shared/savings.lua), so that
nothing is entered twice and nothing is left out. All numbers are whole; money is in nanodollars.
"""

from __future__ import annotations

import re
from enum import StrEnum

#: The tenant, or model and route, of what no longer has a row of its own on its day.
OTHERS = "(others)"

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
    return "\t".join((_word(model), _word(route), _word(tenant)))


def tenant_of(cache_scope: str | None) -> str:
    """The tenant of a job: its cache scope up to the first slash; HTTP makes `tenant/own`."""
    return (cache_scope or "").partition("/")[0]


def _word(text: str) -> str:
    """A name as one word, so that rows and what is kept of answers can be taken apart again."""
    return _SPACES.sub("_", text)
