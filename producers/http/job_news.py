"""A job's events with the changes of its state between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.states import ENDED, JobState

#: Between two looks at the state of a job without events: at first, and at most.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 5.0


async def with_states(
    job: AsyncJob[Any], events: AsyncGenerator[StreamEvent[Any], None], state: JobState
) -> AsyncGenerator[StreamEvent[Any] | JobState, None]:
    """The events, and the job's state where it has changed since `state` and no event says it.

    A text says that the job runs. Raises what the events raise: they bear that Redis is away for a
    while, and so does this.
    """
    pause, now = FIRST_PAUSE_SECONDS, state
    step: asyncio.Task[StreamEvent[Any]] | None = None
    try:
        while True:
            step = step or asyncio.ensure_future(anext(events))
            await asyncio.wait((step,), timeout=pause)
            if not step.done():
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
                with suppress(BrokerUnreachable):
                    now = await job.status()
                if now not in (state, JobState.UNKNOWN, *ENDED):
                    state, pause = now, FIRST_PAUSE_SECONDS
                    yield now
                continue
            done, step = step, None
            try:
                event = done.result()
            except StopAsyncIteration:
                return
            if event.type == "text" and state is not JobState.RUNNING:
                state = JobState.RUNNING
                yield state
            pause = FIRST_PAUSE_SECONDS
            yield event
    finally:
        if step is not None:
            step.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await step
        await events.aclose()
