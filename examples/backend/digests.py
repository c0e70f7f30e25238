"""A backend's own module, as an example: digests of articles, and bookings out of messages.

test_digests.py beside it tests it without a worker, a model or a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from local_llm_service import AsyncClient, Client, summarize
from local_llm_service.worker.errors import InvalidOutput, QueueFull, ServiceError

client = Client()
async_client = AsyncClient()

BOOKING = {
    "name": "book_table",
    "parameters": {
        "type": "object",
        "properties": {"guests": {"type": "integer", "minimum": 1}, "day": {"type": "string"}},
        "required": ["guests"],
    },
}


def order_digest(article: str) -> str | None:
    """Queue the digest of an article; None when the service has too much to do."""
    try:
        return client.summarize(article, max_summary_tokens=40, priority="low").id
    except QueueFull:
        return None


def digest(job_id: str) -> str:
    """The digest of an article, or that there is none."""
    try:
        return str(client.job(job_id).result(timeout_seconds=30).summary)
    except ServiceError as error:
        return f"No digest ({error.code}): {error.hint}"


def withdraw(job_id: str) -> None:
    """The article has gone: nobody needs its digest."""
    client.job(job_id).cancel()


def booking(message: str) -> dict[str, Any] | None:
    """What a guest wants; None when nobody can tell."""
    try:
        job = client.extract_parameters(message, BOOKING, strict=True)
        return job.result(timeout_seconds=30).parameters
    except InvalidOutput:
        return None


async def digests(articles: Sequence[str]) -> list[str]:
    """Digests of several articles, for a backend with an event loop."""
    jobs = await asyncio.gather(*(async_client.summarize(article) for article in articles))
    answers = await asyncio.gather(*(job.result(timeout_seconds=30) for job in jobs))
    return [answer.summary for answer in answers]


def digest_of_digests(article: str) -> str:
    """A digest in two steps, as a chain of Celery tasks."""
    steps = summarize.si(article, max_summary_tokens=200) | summarize.si(article)
    return str(steps.delay().get(timeout=30)["summary"])
