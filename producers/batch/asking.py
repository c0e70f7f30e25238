"""Sends the job of one line and waits for its answer, for as long as that takes.

Redis away, a full queue, a job that Redis forgot: none of these is the line's failure. As the id of
the job is always the same, sending it again joins or collects what is there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, Unpack

import redis

from local_llm_service.producers.asks import Options
from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.producers.batch.records import LineJob
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    Cancelled,
    NotFound,
    NotReady,
    QueueFull,
    ServiceError,
)

#: The pause after a refusal, seconds: the first, and the longest, to which it doubles.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0

#: How often a job may vanish from Redis before its line fails: more is no accident.
MOST_LOSSES: Final = 20


class SentJob(Protocol):
    """What is needed of `AsyncJob`."""

    async def result(self, timeout_seconds: float | None = None) -> Any:
        """The answer, or the job's own error."""

    async def cancel(self) -> Any:
        """Cancel it, queued or running."""


class Sends(Protocol):
    """What a batch needs of the service."""

    async def submit(
        self, kind: str, arguments: Mapping[str, Any], **options: Unpack[Options]
    ) -> SentJob:
        """Send a job, or join the one of this id."""

    async def clear(self, task_ids: Sequence[str]) -> None:
        """Let Redis forget jobs whose answers are kept, if it can be reached."""


class Service:
    """This batch's door to the service: an AsyncClient, which can also clear up behind it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(
        self, kind: str, arguments: Mapping[str, Any], **options: Unpack[Options]
    ) -> SentJob:
        """See Sends."""
        return await self._client.submit(kind, arguments, **options)

    async def clear(self, task_ids: Sequence[str]) -> None:
        """See Sends."""
        here = self._client.here()
        with suppress(redis.RedisError):  # then they go with their lifetime
            await here.drive(here.moves.clear(task_ids))


class Asker:
    """Asks for all lines of a batch. `troubles` says what asks wait for now, beside their jobs."""

    def __init__(self, client: Sends) -> None:
        self._client = client
        self.troubles: Counter[str] = Counter()
        #: The error of every line that has no answer yet; None while lines are asked.
        self.verdict: ServiceError | None = None
        self._sent: dict[str, SentJob] = {}

    async def give_up(self, verdict: ServiceError) -> None:
        """Send no more and cancel what is sent: lines without an answer end with `verdict`.

        Raises BrokerUnreachable while a job cannot be cancelled; call it again then.
        """
        self.verdict = verdict
        for job in list(self._sent.values()):
            await job.cancel()

    async def ask(self, line_job: LineJob) -> Answer | ServiceError:
        """Return the answer or the error of a line's job.

        Raises BrokerUnsafe: Redis may drop accepted jobs, so the batch must not go on.
        """
        pause, losses = FIRST_PAUSE_SECONDS, 0
        # A line that an earlier run has sent is sent again also when all is given up: so its job
        # is found, and cancelled, or its answer kept.
        while self.verdict is None or line_job.is_resumed:
            try:
                return await self._once(line_job)
            except BrokerUnsafe:
                raise
            except Cancelled as error:
                return self.verdict or error
            except (BrokerUnreachable, QueueFull) as error:
                if self.verdict is not None and isinstance(error, QueueFull):
                    return self.verdict
                await self._wait(error, pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except NotReady:
                continue
            except NotFound as error:  # a Redis that restarted may have lost the last second
                losses += 1
                if losses >= MOST_LOSSES:
                    return error
            except ServiceError as error:
                return error
        return self.verdict

    async def clear(self, task_ids: Sequence[str]) -> None:
        """Let Redis forget jobs whose answers are kept: it is to hold no more than the window."""
        await self._client.clear(task_ids)

    async def _once(self, line_job: LineJob) -> Answer:
        options = {
            name: line_job.arguments[name] for name in _OPTIONS if name in line_job.arguments
        }
        own = {name: value for name, value in line_job.arguments.items() if name not in options}
        task_id = line_job.task_id
        job = await self._client.submit(line_job.kind, own, task_id=task_id, **options)
        self._sent[task_id] = job
        try:
            if self.verdict is not None:  # given up while it was on its way
                await job.cancel()
            answer: Answer = await job.result()
            return answer
        finally:
            del self._sent[task_id]

    async def _wait(self, error: ServiceError, seconds: float) -> None:
        self.troubles[error.code] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.troubles[error.code] -= 1


_OPTIONS: Final = tuple(JobRequest.model_fields)
