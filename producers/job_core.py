"""What clients do with a job, as calls (worker/store/calls.py): one logic for both faces. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast
from uuid import UUID

from celery import states
from celery.exceptions import TaskRevokedError
from pydantic import ValidationError

from local_llm_service import tasks
from local_llm_service.producers.asks import Ask
from local_llm_service.producers.python_types import Reader, as_json
from local_llm_service.producers.result_wait import Site, decoded, reaching, wait_for
from local_llm_service.producers.streaming import Stream
from local_llm_service.tasks.answer import Answer, text_of
from local_llm_service.tasks.job import KindTask
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.control import cancelling
from local_llm_service.worker.errors import Cancelled, InternalError, InvalidRequest, ServiceError
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.progress import JobNow, Progress, job_now
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.task_id import is_usable

A = TypeVar("A", bound=Answer)

#: The states of a job without a record, by the state of its Celery result.
_FROM_RESULT = {
    states.SUCCESS: JobState.SUCCEEDED,
    states.FAILURE: JobState.FAILED,
    states.REVOKED: JobState.CANCELLED,
}


@dataclass
class JobFacts(Generic[A]):
    """What a process knows of a job: its id; the class of its answer, None where only the answer
    says its kind; its result as Redis holds it, once that is known; and what makes the caller's
    own types of the answer."""

    task_id: str
    answer: type[A] | None = None
    result: dict[str, Any] | None = field(default=None, repr=False)
    read: Reader | None = None

    def __post_init__(self) -> None:
        """Raises InvalidRequest for what is the id of no job."""
        if not is_usable(self.task_id):
            raise InvalidRequest(
                "task_id: is no job's id", "Give the text that a job's `id` holds."
            )


def facts_of(task_id: Any) -> JobFacts[Any]:
    """What its id alone says of a job. A database gives a UUID where its column is of that type.

    Raises InvalidRequest for what can be no id: None, half a character.
    """
    return JobFacts(str(task_id) if isinstance(task_id, UUID) else task_id)


def submitting(site: Site, ask: Ask[A]) -> Calls[JobFacts[A]]:
    """Submit a call. Raises InvalidRequest, QueueFull, BrokerUnreachable: nothing was queued."""
    if not isinstance(ask.arguments, Mapping):
        raise InvalidRequest("arguments: must be a mapping of names to values")
    given = {**ask.arguments, **ask.options}
    given = {name: value for name, value in given.items() if value is not None}
    task_id = given.pop("task_id", None)
    task = task_of(ask.kind)
    plain, read = as_json(ask.kind, given)
    done = yield from task.submission(plain, task_id, site.moves, site.eviction)
    result = None if done.result is None else decoded(done.result)
    return JobFacts(done.task_id, ask.answer, result, read)


class JobCore(Generic[A]):
    """One job, at one site."""

    def __init__(self, site: Site, facts: JobFacts[A]) -> None:
        self._site, self._facts = site, facts

    def status(self) -> Calls[JobState]:
        """The job's state; UNKNOWN for one that was never submitted or has expired.

        A message sent by name has no record until a worker collects it, within a second, and so is
        UNKNOWN until then.
        Raises BrokerUnreachable.
        """
        return (yield from self.now()).state

    def progress(self) -> Calls[Progress]:
        """How far the job is, in steps of its work: most jobs are one step.

        The phase is a word of the work while it runs ("reading", "joining"), else the job's state.
        What is done stays done when the job waits again. Raises BrokerUnreachable.
        """
        return (yield from self.now()).progress

    def now(self) -> Calls[JobNow]:
        """Both in one look."""
        return reaching(self._site, self._now())

    def _now(self) -> Calls[JobNow]:
        moves, task_id = self._site.moves, self._facts.task_id
        now = yield from job_now(moves.keys, task_id)
        if now is not None:
            return now
        text = yield from moves.result(task_id)
        meta = None if text is None else decoded(text)
        return JobNow(JobState.UNKNOWN if meta is None else _FROM_RESULT[meta["status"]])

    def cancel(self) -> Calls[JobState]:
        """Cancel the job, queued or running, even while no worker is up; return its state.

        CANCELLED: the job is cancelled. RUNNING: its worker has been told and closes the stream;
        the caller gets Cancelled in a moment. UNKNOWN: no such job. Another state: the job had
        ended before. Raises BrokerUnreachable.
        """
        calls = cancelling(app, self._site.moves, self._facts.task_id)
        state = yield from reaching(self._site, calls)
        # A cache hit has no record, only a result.
        return (yield from self.status()) if state is JobState.UNKNOWN else state

    def result(self, timeout_seconds: float | None = None) -> Calls[A]:
        """Wait for the answer, at most `timeout_seconds` (None: for ever; 0: look once).

        Raises the job's own error (a class of `worker.errors`); NotReady, which is a TimeoutError,
        if there is no result in time; NotFound for a job that nobody knows; BrokerUnreachable if
        Redis is away: within 5 s when it was away from the start. A wait goes on while Redis
        restarts, without a timeout for a minute.
        """
        return self._typed((yield from self.plain_result(timeout_seconds)))

    def plain_result(self, timeout_seconds: float | None = None) -> Calls[dict[str, Any]]:
        """The same answer as plain data, as `.delay().get()` returns it."""
        facts = self._facts
        if facts.result is None:
            facts.result = yield from wait_for(self._site, facts.task_id, timeout_seconds)
        return _answer_in(facts.result)

    def stream(self, after: str | Literal[0] | None = None) -> Stream[A]:
        """Read the job's text while it is written: events, the last of which says how it ended.

        `after` is the `offset` of an earlier event, of any process; None or 0: from the start.
        The text is that of a job submitted with `stream=True`, or of one that waits for the same
        answer as such a job; of any other it is one piece at its end. It can be read from its start
        while it is written, and for 10 minutes after; later it is what the answer holds. A job that
        failed ends in an event, not in an exception.

        Raises InvalidRequest for an `after` that is no offset; NotFound for a job that nobody
        knows; BrokerUnreachable if Redis is away: within 5 s when it was away from the start, else
        after a minute.
        """
        return Stream(self._site, self._facts.task_id, self._outcome, after)

    def _outcome(self, text: str) -> tuple[A | ServiceError, str] | None:
        """How a job has ended, by its result as Redis holds it, and the text of its answer; None:
        it has not.

        The text is that of the plain answer: a class of the caller's may write another one, and
        readers in other processes, who do not have it, go on from the same offsets.
        """
        meta = decoded(text)
        if meta is None:
            return None
        try:
            plain = _answer_in(meta)
            return self._typed(plain), text_of(plain)
        except ServiceError as error:
            return error, ""

    def _typed(self, data: dict[str, Any]) -> A:
        answer = _typed(self._facts.answer, data)
        return answer if self._facts.read is None else self._facts.read(answer)


def task_of(kind: str) -> KindTask:
    """The task of a kind. Raises InvalidRequest for a name that is none."""
    task = getattr(tasks, kind, None) if kind in tasks.__all__ else None
    if not isinstance(task, KindTask):
        known = ", ".join(tasks.__all__)
        raise InvalidRequest(f"kind: there is no kind {kind!r}", f"Use one of: {known}.")
    return task


def _answer_in(meta: dict[str, Any]) -> dict[str, Any]:
    """The answer in a result. Raises the job's error."""
    value = meta["result"]
    if meta["status"] == states.SUCCESS:
        if isinstance(value, dict):
            return value
        raise InternalError("the stored result is no answer")
    if isinstance(value, ServiceError):
        raise type(value)(*value.args)  # a new one for each who asks: it gets a traceback
    if isinstance(value, TaskRevokedError):
        # Another app revoked it by Celery's own revoke, which does not store our error.
        raise Cancelled("the job was revoked")
    raise InternalError(f"the job failed with {type(value).__name__}")


def _typed(answer: type[A] | None, data: dict[str, Any]) -> A:
    """The answer as an instance of its class, by default that of its kind."""
    if answer is None:
        kind = str(data.get("kind"))
        if kind not in tasks.__all__:
            raise InternalError("the answer's kind is not known here", "Update local-llm-service.")
        answer = cast(type[A], task_of(kind).kind.answer)
    try:
        return answer.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
    if all(one["type"] == "extra_forbidden" for one in problems):
        # A newer worker says more: this version has no place for it.
        return answer.model_validate(_without([one["loc"] for one in problems], data))
    # Outside of `except`: the error's text holds the answer.
    fields = {".".join(map(str, one["loc"])) for one in problems}
    raise InternalError(
        f"the answer cannot be read: {', '.join(sorted(fields))}", "Update local-llm-service."
    )


def _without(places: Sequence[tuple[int | str, ...]], data: dict[str, Any]) -> dict[str, Any]:
    """The same without the members at these places."""
    left = deepcopy(data)
    for *path, name in places:
        inner: Any = left
        for step in path:
            inner = inner[step]
        del inner[name]
    return left
