"""Calls of OpenAI's routes: answered, or begun as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from time import time
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, answer, error_of, stream
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.known_models import check_model
from local_llm_service.producers.http.openai.body import queued, tier_of
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.openai.chat_stream import Chunks, written
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.fingerprint import full_name

#: A job that fails within this time is told with a status of its own, before the stream begins.
FIRST_SECONDS = 2.0
#: Jobs of one call that are waited for at once.
AT_ONCE = 8


async def placed(call: Call, asked: Asked) -> Asked:
    """The call in the queue that it goes to. Raises ModelMissing for a model that nobody has."""
    await check_model(call.service, asked.arguments.get("model"))
    return queued(call.caller, asked)


async def facts_of(call: Call, asked: Asked) -> Facts:
    """What objects say beside their answers, as it is now."""
    models = await call.service.models()
    digests = {full_name(one["name"]): one["digest"] for one in models}
    return Facts(int(time()), tier_of(asked), digests)


async def model_of(call: Call, asked: Asked) -> str:
    """The model of a call whose answer has not come yet."""
    named = asked.arguments.get("model")
    if isinstance(named, str):
        return named
    models = await call.service.models()
    return next((one["name"] for one in models if one["default"]), "")


async def answers(call: Call, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """The answers to several calls, in their order. Raises the first error; the rest is left."""
    if len(asked) == 1:
        return [await answer(call, asked[0])]
    turn = asyncio.Semaphore(min(AT_ONCE, call.caller.concurrency or AT_ONCE))

    async def one(asks: Asked) -> dict[str, Any]:
        async with turn:
            return await answer(call, asks)

    tasks = [asyncio.create_task(one(asks)) for asks in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def streamed(call: Call, asked: Asked, chunks: Callable[[str], Chunks]) -> Response:
    """The stream of a call. `chunks` makes its form of the job's id.

    Raises the error of a job that has failed within FIRST_SECONDS without a text.
    """
    begun = await stream(call, asked)
    events = begun.events
    first = asyncio.ensure_future(anext(events))
    try:
        await asyncio.wait((first,), timeout=FIRST_SECONDS)
        if first.done() and (event := first.result()).type in ("failed", "cancelled"):
            raise error_of(event)
    except BaseException:
        await _left(first, events)
        raise
    pieces = written(_from_first(first, events), chunks(begun.job.id))
    return EventStream(call, pieces, headers={"X-Local-LLM-Task-Id": begun.job.id})


async def _from_first(
    first: asyncio.Future[StreamEvent[Any]], events: AsyncIterator[StreamEvent[Any]]
) -> AsyncGenerator[StreamEvent[Any], None]:
    try:
        yield await first
        async for event in events:
            yield event
    finally:
        await _left(first, events)


async def _left(
    first: asyncio.Future[StreamEvent[Any]], events: AsyncIterator[StreamEvent[Any]]
) -> None:
    """Close a stream of which nobody reads any more."""
    if not first.done():
        first.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await first
    if isinstance(events, AsyncGenerator):
        await events.aclose()
