"""A backend's own module, as an example: digests of articles, and bookings out of messages.

test_digests.py beside it tests it without a worker, a model or a network.
"""

from __future__ import annotations

from typing import Any

from local_llm_service import extract_parameters, summarize
from local_llm_service.producers import cancel
from local_llm_service.worker.errors import InvalidOutput, QueueFull, ServiceError

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
        return str(summarize.delay(article, max_summary_tokens=40, priority="low").id)
    except QueueFull:
        return None


def digest(job_id: str) -> str:
    """The digest of an article, or that there is none."""
    try:
        found = summarize.AsyncResult(job_id).get(timeout=30)
    except ServiceError as error:
        return f"No digest ({error.code}): {error.hint}"
    return str(found["summary"])


def withdraw(job_id: str) -> None:
    """The article has gone: nobody needs its digest."""
    cancel(job_id)


def booking(message: str) -> dict[str, Any] | None:
    """What a guest wants; None when nobody can tell."""
    try:
        found = extract_parameters.delay(message, BOOKING).get(timeout=30)
    except InvalidOutput:
        return None
    return dict(found["parameters"])
