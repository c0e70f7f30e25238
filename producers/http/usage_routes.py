"""`GET /v1/usage`: what the caller's tenant had done, paid and saved, out of the savings ledger."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from local_llm_service import producers
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.producers.usage_report import day_of

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_USD = "US dollars, exactly."


class UsageQuery(BaseModel):
    """What to sum by, and the first and the last day (UTC): the last 30 where nobody says."""

    model_config = ConfigDict(extra="forbid")

    by: Literal["day", "model", "tenant", "route"] = "day"
    since: str | None = Field(default=None, pattern=_DAY)
    until: str | None = Field(default=None, pattern=_DAY)


class ComparedWith(BaseModel):
    """The model that answers are compared with: US dollars for a million tokens, and where and when
    that was so."""

    model: str
    prompt_usd: str
    completion_usd: str
    source: str
    as_of: str


class UsageSums(BaseModel):
    """Jobs by how they ended, tokens by what became of them, and money.

    `delivered` tokens are those that one call of a paid model would have had for each answer;
    `compared_usd` is what they would have cost, and `saved_usd` that less what was paid and wasted.
    """

    computed: int
    cached: int
    joined: int
    failed: int
    cancelled: int
    computed_prompt: int
    computed_completion: int
    cached_prompt: int
    cached_completion: int
    joined_prompt: int
    joined_completion: int
    wasted_prompt: int
    wasted_completion: int
    delivered_prompt: int
    delivered_completion: int
    paid_usd: str = Field(description=_USD)
    wasted_usd: str = Field(description=_USD)
    compared_usd: str = Field(description=_USD)
    saved_usd: str = Field(description=_USD)


class UsageRow(UsageSums):
    """One day, model, tenant or route, whichever was asked for; "" for none."""

    day: str | None = None
    model: str | None = None
    tenant: str | None = None
    route: str | None = None


class UsageAnswer(BaseModel):
    """The rows, and their exact total."""

    by: str
    since: str
    until: str
    compared_with: ComparedWith
    rows: list[UsageRow]
    total: UsageSums


async def usage(call: Call) -> Response:
    """The ledger of the caller's tenant; of all where no key is needed."""
    query = call.read_query(UsageQuery)
    # In a thread: where callers name many tenants, a year of days is a million numbers.
    report = await asyncio.to_thread(
        producers.usage,
        query.by,
        since=None if query.since is None else day_of(query.since, "since"),
        until=None if query.until is None else day_of(query.until, "until"),
        tenant=call.caller.tenant,
    )
    return json_reply(report.plain())


OPERATIONS = (
    Operation(
        "GET",
        "/v1/usage",
        usage,
        "What was done, paid and saved, by day, model, tenant or route",
        "service",
        query=UsageQuery,
        answers={200: UsageAnswer},
    ),
)
