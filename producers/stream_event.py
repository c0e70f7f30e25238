"""What a reader of a job's text is told, one event after the other; see `Job.stream`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import ServiceError

A = TypeVar("A", bound=Answer)

EventType = Literal["text", "restart", "end", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class StreamEvent(Generic[A]):
    """One event. The last one of a stream is "end", "failed" or "cancelled".

    "text": `text` follows the text so far. "restart": the job runs again, or its answer is another
    text: throw away what came before. "end": the job has its `answer`. "failed", "cancelled": it
    has an `error` instead. `offset` is the place after this event, for `stream(after=...)` in any
    process; what it says is no caller's business.
    """

    type: EventType
    text: str = ""
    offset: str = ""
    answer: A | None = None
    error: ServiceError | None = None
