"""What a side has to ask: this service through its queues, and the same model without it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evals.frame.eval_set import Spent
from evals.frame.plain_ollama import PlainOllama

if TYPE_CHECKING:  # importing it settles which Redis is used
    from local_llm_service.producers.async_client import AsyncClient

DEADLINE_SECONDS = 1800.0


@dataclass(frozen=True)
class Answered:
    """An answer of this service, as its kind's class."""

    answer: Any
    spent: Spent


@dataclass(frozen=True)
class Here:
    """`plain` may also judge: it counts tokens, and asks what a model can make of a text."""

    client: AsyncClient
    plain: PlainOllama

    async def ask(self, kind: str, **arguments: Any) -> Answered:
        """A job through the queues, without the result cache. Raises the job's ServiceError."""
        given = {"cache": False, "deadline_seconds": DEADLINE_SECONDS, **arguments}
        began = time.monotonic()
        job = await self.client.submit(kind, given, model=self.plain.model)
        answer = await job.result()
        seconds = time.monotonic() - began - answer.timings.load_seconds
        usage = answer.usage
        return Answered(answer, Spent(usage.prompt_tokens, usage.completion_tokens, seconds))
