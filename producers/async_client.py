"""The client of event loops; `client.py` is that of threads. Both do what job_core.py says.

>>> async with AsyncClient() as client:
...     job = await client.summarize(text, max_summary_tokens=60, priority="low")
...     print((await job.result(timeout_seconds=60)).summary)
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Iterable,
)
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from local_llm_service.producers.asks import Ask, Asks
from local_llm_service.producers.async_bulk import map_items
from local_llm_service.producers.bulk_items import check_map
from local_llm_service.producers.bulk_window import Outcome
from local_llm_service.producers.client import Client
from local_llm_service.producers.faces import face_of
from local_llm_service.producers.job_core import JobCore, JobFacts, facts_of, submitting
from local_llm_service.producers.loop_state import LoopState
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.producers.streaming import Stream
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.store import process_store

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
P = ParamSpec("P")

#: The state of each loop, by the loop's identity.
States = dict[int, LoopState]


def _awaited(
    declared: Callable[Concatenate[JobCore[A], P], Calls[T]],
) -> Callable[Concatenate[AsyncJob[A], P], Coroutine[Any, Any, T]]:
    @face_of(declared, "{}")
    async def method(self: AsyncJob[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        here = self._client.here()
        return await here.drive(declared(JobCore(here, self._facts), *args, **kwargs))

    return method


def _iterated(
    declared: Callable[Concatenate[JobCore[A], P], Stream[A]],
) -> Callable[Concatenate[AsyncJob[A], P], AsyncGenerator[StreamEvent[A], None]]:
    @face_of(declared, "AsyncGenerator[StreamEvent[{}], None]")
    def method(
        self: AsyncJob[A], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[StreamEvent[A], None]:
        here = self._client.here()
        return _events(here, declared(JobCore(here, self._facts), *args, **kwargs))

    return method


async def _events(here: LoopState, stream: Stream[A]) -> AsyncGenerator[StreamEvent[A], None]:
    with here.listener.hear(stream.channels) as ear:
        while not stream.has_ended:
            for event in await here.drive(stream.next_events(ear)):
                yield event


def _submits(
    declared: Callable[Concatenate[Asks, P], Ask[A]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncJob[A]]]:
    @face_of(declared, "AsyncJob[{}]")
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob[A]:
        here = self.here()
        facts = await here.drive(submitting(here, declared(_ASKS, *args, **kwargs)))
        return AsyncJob(self, facts)

    return method


_ASKS = Asks()


class AsyncJob(Generic[A]):
    """A submitted job. Any process can make it again from its id: `AsyncClient.job`."""

    def __init__(self, client: AsyncClient, facts: JobFacts[A]) -> None:
        self._client, self._facts = client, facts

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}>"

    @property
    def id(self) -> str:
        """The job's task id."""
        return self._facts.task_id

    status = _awaited(JobCore.status)
    progress = _awaited(JobCore.progress)
    result = _awaited(JobCore.result)
    cancel = _awaited(JobCore.cancel)
    stream = _iterated(JobCore.stream)


class AsyncClient:
    """Submits jobs from an event loop; each loop, thread and forked process may use the same one.

    Raises InvalidRequest, QueueFull or BrokerUnreachable; then nothing was queued. None stands for
    the default of the kind's request. Where the task that submits is cancelled, nothing was queued
    either.
    """

    generate = _submits(Asks.generate)
    summarize = _submits(Asks.summarize)
    compress = _submits(Asks.compress)
    extract_parameters = _submits(Asks.extract_parameters)
    structured_output = _submits(Asks.structured_output)
    chat = _submits(Asks.chat)
    embed = _submits(Asks.embed)
    submit = _submits(Asks.submit)

    @overload
    def map(
        self,
        kind: str,
        items: Iterable[Any] | AsyncIterable[Any],
        window: int | None = None,
        ordered: Literal[True] = True,
        **options: Any,
    ) -> AsyncGenerator[Outcome, None]: ...

    @overload
    def map(
        self,
        kind: str,
        items: Iterable[Any] | AsyncIterable[Any],
        window: int | None = None,
        *,
        ordered: Literal[False],
        **options: Any,
    ) -> AsyncGenerator[tuple[int, Outcome], None]: ...

    def map(
        self,
        kind: str,
        items: Iterable[Any] | AsyncIterable[Any],
        window: int | None = None,
        ordered: bool = True,
        **options: Any,
    ) -> AsyncGenerator[Any, None]:
        check_map(kind, items, (Iterable, AsyncIterable), window, options)
        return map_items(self.here, kind, items, window, ordered, options)

    def __init__(self) -> None:
        self._states: States = {}
        weakref.finalize(self, _leave_all, self._states)
        _CLIENTS.add(self)

    def job(self, task_id: str | UUID) -> AsyncJob[Any]:
        """The job of this id, which any process has submitted; its answer is of the job's kind.

        Nothing is asked: of an id that nobody knows, `status()` is unknown. Raises InvalidRequest
        for what can be no job's id.
        """
        return AsyncJob(self, facts_of(task_id))

    async def close(self) -> None:
        """Close the connections of this event loop. A later call opens new ones.

        So does whoever still waits: nobody's wait or stream ends by this.
        """
        _drop_closed(self._states)
        state = self._states.get(id(asyncio.get_running_loop()))
        if state is not None:  # it is kept, as its loop may end before those who still wait
            await state.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def here(self) -> LoopState:
        """What this client has in the running loop. Raises RuntimeError where none runs."""
        loop = asyncio.get_running_loop()
        state = self._states.get(id(loop))
        if state is None or state.loop is not loop:
            _drop_closed(self._states)
            state = LoopState(process_store(), lazy_settings().redis_url)
            self._states[id(loop)] = state
        return state

    def leave_to_the_parent(self) -> None:
        """Begin as a forked child: a loop's sockets are the parent's."""
        _LEFT.append(dict(self._states))
        self._states.clear()


AsyncClient.map.__doc__ = Client.map.__doc__


def _drop_closed(states: States) -> None:
    """Forget loops that were closed while this client had connections in them."""
    for number, state in list(states.items()):
        if state.loop.is_closed() and states.pop(number, None) is not None:
            state.drop()


def _leave_all(states: States) -> None:
    """The client is gone, or the process ends."""
    for state in list(states.values()):
        if state.loop.is_running():
            with suppress(RuntimeError):  # it has been closed just now
                state.loop.call_soon_threadsafe(_close_soon, state)
        else:
            state.drop()
    states.clear()


def leave_event_loops() -> None:
    """Close what all clients have in their event loops: the process's Redis will be another."""
    for client in list(_CLIENTS):
        _drop_closed(client._states)
        while client._states:
            _, state = client._states.popitem()
            if state.loop.is_running():
                _leave_all({0: state})
            else:
                state.loop.run_until_complete(state.close())


def _close_soon(state: LoopState) -> None:
    closing = state.loop.create_task(state.close())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Task[None]] = set()
_CLIENTS: weakref.WeakSet[AsyncClient] = weakref.WeakSet()
#: What a forked child never uses and never closes.
_LEFT: list[States] = []


def _begin_anew() -> None:
    for client in list(_CLIENTS):
        client.leave_to_the_parent()


os.register_at_fork(after_in_child=_begin_anew)
