"""The first service's own Python API: asynchronous methods that return the bare content.

>>> service = LocalLLMService()
>>> await service.generate_response(prompt="What is Python?", max_tokens=150)

A thin face on AsyncClient. New code has more from that: ids, usage, cancel, streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from local_llm_service.producers.asks import FunctionGiven, Options
from local_llm_service.producers.async_client import AsyncClient, AsyncJob
from local_llm_service.producers.service import stats
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.structured_output import D
from local_llm_service.worker.errors import ServiceError

A = TypeVar("A", bound=Answer)


class LocalLLMService:
    """Asks and waits in one call, until the job's deadline.

    Every method but `get_cache_stats` also takes the options of `AsyncClient`'s calls, and raises
    what they and `result()` raise. Where the task that waits is cancelled, its job is cancelled,
    too. `client` is closed with the service.
    """

    def __init__(self, client: AsyncClient | None = None) -> None:
        self._client = client or AsyncClient()

    async def generate_response(
        self,
        prompt: str,
        max_tokens: int | None = None,
        temperature: float | None = None,
        system_prompt: str | None = None,
        context: str | None = None,
        max_context_tokens: int | None = None,
        **options: Unpack[Options],
    ) -> str:
        """The text that the model writes for a prompt; with a `context`, an answer from that."""
        asked = self._client.generate(
            prompt,
            system_prompt=system_prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            context=context,
            max_context_tokens=max_context_tokens,
            **options,
        )
        return (await _answer(asked)).text

    async def summarize_rag_context(
        self,
        context: str,
        max_summary_tokens: int | None = None,
        question: str | None = None,
        **options: Unpack[Options],
    ) -> str:
        """The summary of a text; with a `question`, what helps to answer it."""
        asked = self._client.summarize(
            context, max_summary_tokens=max_summary_tokens, question=question, **options
        )
        return (await _answer(asked)).summary

    async def compress_conversation(
        self,
        messages: list[dict[str, Any]],
        target_tokens: int | None = None,
        keep: list[str] | None = None,
        previous_summary: str | None = None,
        **options: Unpack[Options],
    ) -> str:
        """The text that can take the place of a conversation: all of it, no turn beside it."""
        asked = self._client.compress(
            messages,
            target_tokens=target_tokens,
            keep_last=0,
            keep=keep,
            previous_summary=previous_summary,
            **options,
        )
        return (await _answer(asked)).summary

    async def extract_function_parameters(
        self,
        user_message: str,
        function_schema: FunctionGiven,
        strict: bool | None = None,
        **options: Unpack[Options],
    ) -> dict[str, Any]:
        """The arguments of a function call; of a Python function, as values of its types."""
        asked = self._client.extract_parameters(
            user_message, function_schema, strict=strict, **options
        )
        return (await _answer(asked)).arguments

    async def generate_structured_output(
        self,
        prompt: str,
        schema: type[D] | dict[str, Any] | bool,
        strict: bool | None = None,
        **options: Unpack[Options],
    ) -> D:
        """An instance of a JSON Schema, or of a class that is given in its place."""
        asked = self._client.structured_output(prompt, schema, strict=strict, **options)
        return (await _answer(asked)).data

    def get_cache_stats(self) -> dict[str, Any]:
        """`{"hits", "misses", "hit_rate"}` of all callers' jobs on this Redis that have ended.

        A hit was answered from the cache. A question that was asked while an identical one ran is
        neither; it counts in the rate. One look at Redis, which blocks: some 0.5 ms, and 5 s at
        most. Raises BrokerUnreachable.
        """
        counts = stats()
        return {name: counts[name] for name in ("hits", "misses", "hit_rate")}

    async def close(self) -> None:
        """Close the connections; see AsyncClient.close."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        await self.close()


async def _answer(asked: Coroutine[Any, Any, AsyncJob[A]]) -> A:
    """The answer of a job that only the awaiting task knows of."""
    job = await asked
    try:
        return await job.result()
    except asyncio.CancelledError:
        with suppress(ServiceError):
            await job.cancel()
        raise
