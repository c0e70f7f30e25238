"""A stream's first event, waited for before the reply begins: an early failure has its status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

from local_llm_service.producers.http.call import Call, ClientGone
from local_llm_service.producers.http.job_stream import error_of
from local_llm_service.producers.stream_event import StreamEvent

Event = StreamEvent[Any]


async def after_first(
    call: Call, events: AsyncIterator[Event], seconds: float
) -> AsyncGenerator[Event, None]:
    """The same events, once the first one has come or `seconds` are over.

    Raises the error of a job that has failed by then without a text, and ClientGone; then the
    events are closed.
    """
    first = asyncio.ensure_future(anext(events))
    gone = asyncio.create_task(call.gone())
    try:
        await asyncio.wait((first, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not first.done():
            raise ClientGone
        if first.done() and (event := first.result()).type in ("failed", "cancelled"):
            async for _ in events:  # whoever stops before the end has left the job
                pass
            raise error_of(event)
    except BaseException:
        await _end(first, events)
        raise
    finally:
        gone.cancel()
    return _from_first(first, events)


async def _from_first(
    first: asyncio.Future[Event], events: AsyncIterator[Event]
) -> AsyncGenerator[Event, None]:
    try:
        yield await first
        async for event in events:
            yield event
    finally:
        await _end(first, events)


async def _end(first: asyncio.Future[Event], events: AsyncIterator[Event]) -> None:
    """Leave a stream, whose job then has nobody who attends."""
    first.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await first
    if isinstance(events, AsyncGenerator):
        await events.aclose()
