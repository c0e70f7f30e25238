"""A response's stream: its job's text as numbered events, from any number on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import unbroken
from local_llm_service.producers.http.job_news import News, with_news
from local_llm_service.producers.http.job_stream import attended_stream, error_of, followed
from local_llm_service.producers.http.openai.responses_events import (
    TEXTS_MOST,
    Place,
    ResponseEvents,
    not_ours,
    place_after,
)
from local_llm_service.producers.http.openai.responses_object import ResponseFacts, status_of
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    ServiceError,
    ShuttingDown,
    StreamBroken,
)
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.responses import number_text, told_run
from local_llm_service.worker.store.states import ENDED, JobState


class Told:
    """Where a reader of a response is in which of its job's texts."""

    def __init__(
        self, call: Call, facts: ResponseFacts, place: Place | None, *, is_stored: bool
    ) -> None:
        self.facts = facts
        self._call, self._is_stored = call, is_stored
        self._place, self._skipped = place, 0

    async def text(self, event: StreamEvent[Any]) -> tuple[str, Place] | None:
        """What is new of a piece, and the place after it."""
        if self._place is None:
            self._place = Place(await self._number(event), 0)
        piece = event.text[self._skipped :]
        self._skipped -= len(event.text) - len(piece)
        if not piece:
            return None
        self._place = Place(self._place.text, self._place.characters + len(piece))
        return piece, self._place

    async def restart(self, event: StreamEvent[Any]) -> None:
        """The text begins anew. Raises StreamBroken where it may be another one.

        The text of an answer is that of its run, once this is not kept any more; but JSON is
        answered without what a model has put around it.
        """
        if self._place is None or self._place.characters == 0:
            self._place = None
            return
        is_free = self.facts.echo["text"]["format"].get("type") == "text"
        if not is_free or await self._number(event) != self._place.text:
            raise StreamBroken(
                "the text began anew, and may differ from what was sent",
                "Retrieve the response, or stream it from the start.",
            )
        self._skipped = self._place.characters

    async def _number(self, event: StreamEvent[Any]) -> int:
        run = event.offset.partition(".")[0]
        if not self._is_stored:
            return 0
        number = await self._call.service.drive(number_text(self.facts.task_id, run))
        if number >= TEXTS_MOST:
            raise StreamBroken("the text began anew too often", "Retrieve the response.")
        return number


def written(
    call: Call, facts: ResponseFacts, job: AsyncJob[Any], state: JobState, timeout_seconds: float
) -> AsyncGenerator[bytes, None]:
    """The stream of a response that was just created, whose job is in this state."""
    told = Told(call, facts, None, is_stored=bool(facts.echo["store"]))
    events = unbroken(followed(call, job, timeout_seconds=timeout_seconds))
    return _attended(call, job, events, told, ResponseEvents(facts), state)


async def resumed(
    call: Call, facts: ResponseFacts, job: AsyncJob[Any], state: JobState, after: int | None
) -> AsyncGenerator[bytes, None]:
    """The events after a number. Raises InvalidRequest for the number of no event."""
    place = None if after is None else place_after(after)
    if place is None:
        events = unbroken(followed(call, job))
    else:
        run = await call.service.drive(told_run(call.service.store.keys, facts.task_id, place.text))
        if run is None:
            raise not_ours()
        events = followed(call, job, f"{run}.{place.characters}")
    told = Told(call, facts, place, is_stored=True)
    writer = ResponseEvents(facts, -1 if after is None else after)
    return _attended(call, job, events, told, writer, state)


def _attended(
    call: Call,
    job: AsyncJob[Any],
    events: AsyncGenerator[StreamEvent[Any], None],
    told: Told,
    writer: ResponseEvents,
    state: JobState,
) -> AsyncGenerator[bytes, None]:
    """The stream. Outside the background a job is there for those who read it."""
    news = with_news(call, job, events, state)
    pieces = _pieces(call, job, news, told, writer, state)
    if told.facts.echo["background"] or state in ENDED:
        return pieces
    return attended_stream(call, job.id, pieces, reader=object())


async def _pieces(
    call: Call,
    job: AsyncJob[Any],
    news: AsyncGenerator[News, None],
    told: Told,
    writer: ResponseEvents,
    state: JobState,
) -> AsyncGenerator[bytes, None]:
    try:
        for piece in writer.begin():
            yield piece
        if state not in ENDED and status_of(state) == "in_progress":
            for piece in writer.run():
                yield piece
        async for one in news:
            for piece in await _said(call, job, one, told, writer):
                yield piece
    except ServiceError as error:
        known = call.service.attendance.explained(job.id, error)
        yield writer.broken(problem_of(known, call.request_id).error_object)
    finally:
        await news.aclose()


async def _said(
    call: Call,
    job: AsyncJob[Any],
    one: News,
    told: Told,
    writer: ResponseEvents,
) -> Iterator[bytes]:
    if isinstance(one, JobState):
        return writer.run() if status_of(one) == "in_progress" else iter(())
    if isinstance(one, Progress):  # OpenAI's clients take an event of ours for one of theirs
        return iter(())
    if one.type == "restart":
        await told.restart(one)
        return iter(())
    if one.type == "text":
        new = await told.text(one)
        return iter(()) if new is None else writer.text(*new)
    if one.answer is not None:
        return writer.end(one.answer.plain())
    return writer.fail(await _own_error(call, job, one))


async def _own_error(call: Call, job: AsyncJob[Any], event: StreamEvent[Any]) -> ServiceError:
    """The error that a job has ended with. Raises one that is this stream's, not the job's."""
    error = call.service.attendance.explained(job.id, error_of(event))
    is_the_streams = isinstance(error, ShuttingDown | BrokerUnreachable) or (
        isinstance(error, StreamBroken) and await job.status() is not JobState.FAILED
    )
    if is_the_streams:
        raise error
    return error
