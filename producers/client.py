"""The client of threads; `async_client.py` is that of event loops. Both do what job_core.py says.

>>> client = Client()
>>> client.summarize(text, max_summary_tokens=60, priority="low").result(timeout_seconds=60).summary
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from local_llm_service.producers.asks import Ask, Asks
from local_llm_service.producers.bulk import Bulk, Step
from local_llm_service.producers.bulk_items import check_map
from local_llm_service.producers.bulk_window import Outcome
from local_llm_service.producers.faces import face_of
from local_llm_service.producers.job_core import JobCore, JobFacts, facts_of, submitting
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.producers.streaming import Stream
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.listening.thread_listener import ThreadListener, process_listener
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.store import process_store

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
P = ParamSpec("P")


class ProcessSite:
    """This process, for whoever blocks: its one store and its one listener. A fork has its own."""

    #: What is there already needs no listener, which is a thread.
    reads_first = True

    @property
    def url(self) -> str:
        """REDIS_URL."""
        return lazy_settings().redis_url

    @property
    def moves(self) -> Moves:
        """The moves of jobs, as calls."""
        return process_store().jobs.moves

    @property
    def eviction(self) -> EvictionCheck:
        """Whether this Redis may drop jobs."""
        return process_store().eviction

    @property
    def listener(self) -> ThreadListener:
        """Finds results, by one thread for all who wait."""
        return process_listener()

    def drive(self, calls: Calls[T]) -> T:
        """Run logic to its end; it blocks."""
        return process_store().drive(calls)


SITE = ProcessSite()


def _blocking(
    declared: Callable[Concatenate[JobCore[A], P], Calls[T]],
) -> Callable[Concatenate[Job[A], P], T]:
    @face_of(declared, "{}")
    def method(self: Job[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return SITE.drive(declared(JobCore(SITE, self._facts), *args, **kwargs))

    return method


def _iterated(
    declared: Callable[Concatenate[JobCore[A], P], Stream[A]],
) -> Callable[Concatenate[Job[A], P], Generator[StreamEvent[A], None, None]]:
    @face_of(declared, "Generator[StreamEvent[{}], None, None]")
    def method(
        self: Job[A], /, *args: P.args, **kwargs: P.kwargs
    ) -> Generator[StreamEvent[A], None, None]:
        return read_along(declared(JobCore(SITE, self._facts), *args, **kwargs))

    return method


def read_along(
    stream: Stream[A], until: float = float("inf")
) -> Generator[StreamEvent[A], None, None]:
    """The events of a stream as they come, to its end or to a monotonic time."""
    with SITE.listener.hear(stream.channels) as ear:
        while not stream.has_ended and (events := SITE.drive(stream.next_events(ear, until))):
            yield from events


def _submits(
    declared: Callable[Concatenate[Asks, P], Ask[A]],
) -> Callable[Concatenate[Client, P], Job[A]]:
    @face_of(declared, "Job[{}]")
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Job[A]:
        return Job(SITE.drive(submitting(SITE, declared(_ASKS, *args, **kwargs))))

    return method


_ASKS = Asks()


class Job(Generic[A]):
    """A submitted job. Any process can make it again from its id: `Client.job`."""

    def __init__(self, facts: JobFacts[A]) -> None:
        self._facts = facts

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    @property
    def id(self) -> str:
        """The job's task id."""
        return self._facts.task_id

    status = _blocking(JobCore.status)
    progress = _blocking(JobCore.progress)
    result = _blocking(JobCore.result)
    cancel = _blocking(JobCore.cancel)
    stream = _iterated(JobCore.stream)


class Client:
    """Submits jobs; every method returns at once. Threads share one, and so do forked processes.

    Raises InvalidRequest, QueueFull or BrokerUnreachable; then nothing was queued. None stands for
    the default of the kind's request.
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
        items: Iterable[Any],
        window: int | None = None,
        ordered: Literal[True] = True,
        **options: Any,
    ) -> Generator[Outcome, None, None]: ...

    @overload
    def map(
        self,
        kind: str,
        items: Iterable[Any],
        window: int | None = None,
        *,
        ordered: Literal[False],
        **options: Any,
    ) -> Generator[tuple[int, Outcome], None, None]: ...

    def map(
        self,
        kind: str,
        items: Iterable[Any],
        window: int | None = None,
        ordered: bool = True,
        **options: Any,
    ) -> Generator[Any, None, None]:
        """Ask for each item and yield its answer, or the ServiceError that stands in its place.

        An item is a dict of arguments, or a value for the kind's first one. `options` are options
        and arguments of all calls; an item's own win. `items`, in an event loop also an
        asynchronous iterable, are read as they are needed: `window` jobs are in flight at once, by
        default twice the slots of the workers that run now. Answers come in the order of the items;
        with `ordered=False` as soon as they are there, as pairs of an item's place, from 0, and its
        answer. A full queue is waited for.

        Who stops early leaves up to `window` jobs that go on. Raises InvalidRequest at once for an
        unknown kind or option, and while it runs what `items` raises, or BrokerUnreachable once
        Redis has been away for a minute, or from the start.
        """
        check_map(kind, items, (Iterable,), window, options)
        steps = _bulk(Bulk(SITE, kind, options, window, ordered), items)
        return steps if not ordered else (outcome for _, outcome in steps)

    def job(self, task_id: str | UUID) -> Job[Any]:
        """The job of this id, which any process has submitted; its answer is of the job's kind.

        Nothing is asked: of an id that nobody knows, `status()` is unknown. Raises InvalidRequest
        for what can be no job's id.
        """
        return job(task_id)

    def close(self) -> None:
        """Nothing has to be closed: connections belong to the process, which shares them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _bulk(bulk: Bulk, items: Iterable[Any]) -> Generator[tuple[int, Outcome], None, None]:
    iterator = iter(items)
    with SITE.listener.hear(()) as ear:
        while (step := SITE.drive(bulk.step(ear))) is not Step.END:
            if not isinstance(step, Step):
                yield step
                continue
            try:
                item = next(iterator)
            except StopIteration:
                bulk.finish()
            else:
                bulk.give(item)


def job(task_id: str | UUID) -> Job[Any]:
    """The job of this id; see `Client.job`."""
    return Job(facts_of(task_id))
