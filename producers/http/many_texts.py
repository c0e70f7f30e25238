"""The vectors of more texts than one job takes: several jobs, the order kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.producers.http.asking import Asked, answer
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.replies import answer_headers
from local_llm_service.tasks.embed import MOST_TEXTS
from local_llm_service.worker.errors import InvalidRequest

#: Texts of one request, as in OpenAI's API. All their vectors are in memory, and in one reply.
MOST_TEXTS_OF_A_REQUEST = 2048
#: Jobs of one request at a time: one caller is not to fill a queue.
JOBS_AT_ONCE = 4


@dataclass(frozen=True)
class Vectors:
    """One vector for each text, in their order.

    `prompt_tokens` counts what was evaluated: a known text costs nothing. `headers` are those of
    the first job's answer.
    """

    model: str
    vectors: list[list[float]] = field(repr=False)
    prompt_tokens: int
    load_seconds: float
    headers: Mapping[str, str]


async def vectors_of(call: Call, texts: str | Sequence[str], options: Mapping[str, Any]) -> Vectors:
    """Embed the texts. `options` are those of the kind `embed`, its `dimensions` too.

    Raises InvalidRequest, whose fields begin with `input`, and what `answer` raises. Then no job is
    waited for; what is done stays in the cache.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not 0 < len(texts) <= MOST_TEXTS_OF_A_REQUEST:
        raise InvalidRequest(
            f"input: must be a text or 1 to {MOST_TEXTS_OF_A_REQUEST} texts, got {len(texts)}"
        )
    room = asyncio.Semaphore(min(JOBS_AT_ONCE, call.caller.concurrency or JOBS_AT_ONCE))

    async def part(begin: int) -> dict[str, Any]:
        arguments = {**options, "input": texts[begin : begin + MOST_TEXTS]}
        async with room:
            return await answer(call, Asked("embed", arguments))

    answers = await _all([part(begin) for begin in range(0, len(texts), MOST_TEXTS)])
    return Vectors(
        model=answers[0]["model"],
        vectors=[vector for one in answers for vector in one["embeddings"]],
        prompt_tokens=sum(one["usage"]["prompt_tokens"] for one in answers),
        load_seconds=max(one["timings"]["load_seconds"] for one in answers),
        headers=answer_headers(answers[0]),
    )


async def _all(parts: Sequence[Any]) -> list[dict[str, Any]]:
    """The results of all, or the first failure, after which none of them runs any more."""
    if len(parts) == 1:
        return [await parts[0]]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
