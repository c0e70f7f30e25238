"""A job's events, with the changes of its state and its progress between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import job_now
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.states import ENDED, JobState

#: Between two looks at the state of a job without events: at first, and at most.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 5.0


#: An event, or what has changed: where the job is, and how far.
News = StreamEvent[Any] | JobState | Progress


class _Watch:
    """Looks for what no event of a job says: the less changes, the more seldom."""

    def __init__(self, call: Call, job: AsyncJob[Any], state: JobState) -> None:
        self._call, self._job = call, job
        #: What the reader knows.
        self.state = state
        self._progress: Progress | None = None
        self.pause = FIRST_PAUSE_SECONDS

    def note(self, state: JobState) -> list[News]:
        """What is news, if the job is in this state."""
        is_news, self.state = state is not self.state, state
        return [state] if is_news else []

    async def look(self) -> list[News]:
        """What has changed since the last look; nothing while Redis is away."""
        try:
            now = await job_now(self._call, self._job)
        except BrokerUnreachable:
            return []
        if now.state in (JobState.UNKNOWN, *ENDED):
            return []
        found = self.note(now.state)
        if now.has_steps and now.progress != self._progress:
            self._progress = now.progress
            found.append(now.progress)
        return found


async def with_news(
    call: Call,
    job: AsyncJob[Any],
    events: AsyncGenerator[StreamEvent[Any], None],
    state: JobState,
) -> AsyncGenerator[News, None]:
    """The events; the job's state where it has changed since `state` and no event says it; and the
    progress of a job of several steps, where that has changed.

    A text says that the job runs. Raises what the events raise: they bear that Redis is away for a
    while, and so does this.
    """
    watch = _Watch(call, job, state)
    step: asyncio.Task[StreamEvent[Any]] | None = None
    try:
        while True:
            step = step or asyncio.ensure_future(anext(events))
            await asyncio.wait((step,), timeout=watch.pause)
            if not step.done():
                watch.pause = min(2 * watch.pause, LAST_PAUSE_SECONDS)
                for one in await watch.look():
                    watch.pause = FIRST_PAUSE_SECONDS
                    yield one
                continue
            done, step = step, None
            try:
                event = done.result()
            except StopAsyncIteration:
                return
            for one in watch.note(JobState.RUNNING) if event.type == "text" else ():
                yield one
            watch.pause = FIRST_PAUSE_SECONDS
            yield event
    finally:
        if step is not None:
            step.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await step
        await events.aclose()
