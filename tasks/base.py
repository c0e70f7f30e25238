"""The path of one job, from a call in a backend to its answer in Redis. Read it top to bottom.

    producer:  validate → fingerprint → admit (one Redis script: known id? in the cache? full?)
               → publish to its queue
    worker:    taken under a lease (deadline left? cancelled?) → validate again
               → claim (one script: cached? does the same run already?) → engine → read
               → settle: one script stores the answer, for all who asked the same, and in the cache,
               announces it and ends custody
               on an error that may pass: back among the deferred, without holding the slot

Each kind adds its own request, prompt and reading (tasks/<kind>.py); nothing here knows one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import uuid4

import redis
from celery import Task
from celery.exceptions import CeleryError, Ignore
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from local_llm_service.tasks.answer import Timings, Usage
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Limits, parse
from local_llm_service.tasks.sharing import Share, learn, may_share, question, shared_answer
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.answers import Work, cached_meta
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    Cancelled,
    CrashedTooOften,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    QueueFull,
    ServiceError,
)
from local_llm_service.worker.lease.in_flight import HOLDINGS, Held, Interrupted
from local_llm_service.worker.prompt import Completion
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.jobs import Admission, Admitted, NewJob, Taken
from local_llm_service.worker.store.local import jobs

logger = logging.getLogger(__name__)

#: The longest pause between two tries of a job.
MAX_PAUSE_SECONDS = 30.0
#: How long a worker tries to send the next step of a chain while Redis is away.
CONTINUE_SECONDS = 600.0

T = TypeVar("T")


class Job(Task):
    """A Celery task whose calls are checked where they are made and whose words stay private."""

    abstract = True
    kind: Kind

    Request = "local_llm_service.worker.celery_ext.request:PrivateRequest"
    throws = (ServiceError,)  # logged as one line, without a traceback
    typing = False  # our own check names the field and the limit
    resultrepr_maxsize = 0  # no answer in the log, in events, in Flower

    # --- producer ---------------------------------------------------------------------------

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult:
        """Check the call, admit the job and put it into its queue; Celery's options work as usual.

        An id that exists already is not run again: the handle of the existing job comes back.
        Raises InvalidRequest, QueueFull, or, within 5 s, BrokerUnreachable; then nothing is queued.
        """
        # The next step of a chain or a callback: a worker makes this call, nobody waits for it, so
        # bad input has to become the failure of the new job instead.
        continued = options.get("parent_id") is not None
        try:
            request = self.parse(args, kwargs)
        except InvalidRequest:
            if not continued:
                raise
            return super().apply_async(args, kwargs, task_id, **options, **_PRIVATE)
        if not _settings().enable_cache:
            request = request.model_copy(update={"cache": False})  # for the worker, too
        _refuse_integer_priority(options)
        new = NewJob(
            task_id or str(uuid4()),
            self.kind.name,
            _queue_name(options.pop("queue", None), request, self.kind),
            _deadline(request, options.pop("expires", None)),
            max_length=0 if continued else _settings().max_queue_length,
            canvas=bool(options) and any(options.get(word) for word in _CANVAS),
            has_new_id=not task_id,
            continued=continued,
        )
        admitted = _patiently(continued, self._admit, new, request, may_share(request, options))
        if admitted.decision is Admission.HIT:
            return self._answered(new.task_id, admitted)
        if admitted.decision is Admission.EXISTS:
            return self.AsyncResult(new.task_id)
        if admitted.decision is Admission.FULL:
            raise QueueFull(f"{new.queue} holds {admitted.length} jobs already")
        options["queue"] = new.queue
        return _patiently(continued, self._publish, request, new.task_id, **options)

    def _admit(self, new: NewJob, request: JobRequest, shares: bool) -> Admitted:
        try:
            # Twice: the first call of a process learns what workers agree on, and so does one after
            # a model was pulled. Should that change in between again, it goes without.
            for _ in range(2 if shares else 0):
                asked = question(self.kind, request, new.task_id)
                admitted = jobs().submit(new, asked)
                if admitted.decision is not Admission.STALE:
                    return admitted
                learn(asked.model, admitted.text)
            return jobs().submit(new)
        except redis.RedisError as error:
            raise unreachable(_settings().redis_url, error) from None

    def _answered(self, task_id: str, admitted: Admitted) -> AsyncResult:
        """The handle of a job that the cache has answered; it holds the answer."""
        result = self.AsyncResult(task_id)
        result._cache = cached_meta(task_id, admitted.date_done, admitted.text)
        return result

    def parse(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> JobRequest:
        """The call as the kind's request. Raises InvalidRequest."""
        return parse(self.kind.request, args, kwargs, _limits())

    def _publish(self, request: JobRequest, task_id: str, **options: Any) -> AsyncResult:
        kwargs = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
        options["headers"] = {**(options.get("headers") or {}), "llm_submitted": True}
        try:
            return super().apply_async((), kwargs, task_id, **options, **_PRIVATE)
        except (OperationalError, redis.RedisError, RuntimeError) as error:
            # RuntimeError is how Celery's result backend says that it has given up.
            url = _settings().redis_url
            try:
                jobs().forget(task_id)
            except redis.RedisError:
                logger.warning("record of unsent job %s stays until it expires", task_id)
            raise unreachable(url, error) from None

    # --- worker -----------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do the job in this process and return the answer. Raises errors of `worker.errors`."""
        held = HOLDINGS.get(self.request.get("llm_token"))
        try:
            return self._answer(args, kwargs, held)
        except ServiceError as error:
            if held is not None and self._goes_back(error, held):
                raise Ignore from None
            raise
        except CeleryError:
            raise
        except Exception as error:  # noqa: BLE001  # the edge: foreign words must not travel on
            logger.error("job %s: unexpected %s", self._task_id, _place(error))
            raise InternalError(f"unexpected {type(error).__name__} in the worker") from None

    def _goes_back(self, error: ServiceError, held: Held) -> bool:
        """Put the message back where a later try, here or elsewhere, makes sense."""
        # Imported here: a backend that only sends jobs must not load an HTTP client.
        from local_llm_service.worker.intake.circuit_breaker import get_breaker
        from local_llm_service.worker.metrics import RELEASES

        taken = held.taken
        if held.work.origin != "computed":
            return False  # it is the failure of the flight that this job had joined
        if isinstance(error, Interrupted) or (error.retryable and get_breaker().is_away()):
            self._release(taken)  # an outage or a shutdown is no try
            RELEASES.labels("interrupted" if isinstance(error, Interrupted) else "outage").inc()
            return True
        if not error.retryable or taken.attempts + 1 >= _settings().max_attempts:
            return False
        pause = _settings().retry_base_seconds * 2**taken.attempts
        pause = min(pause, MAX_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
        logger.warning("job %s: %s; again in %.1f s", taken.task_id, error.code, pause)
        self._release(taken, delay_seconds=pause, counts=True)
        RELEASES.labels("retry").inc()
        return True

    def _release(self, taken: Taken, *, delay_seconds: float = 0.0, counts: bool = False) -> None:
        try:
            jobs().release(taken.task_id, taken.token, delay_seconds=delay_seconds, counts=counts)
        except redis.RedisError:
            HOLDINGS.release_later(taken.task_id, taken.token)
        HOLDINGS.end(taken.token)

    def _answer(self, args: Any, kwargs: Any, held: Held | None) -> dict[str, Any]:
        settings = _settings()
        remaining_seconds = settings.deadline_seconds if held is None else held.taken.left_seconds
        if held is not None and held.taken.cancelled:
            raise Cancelled("the job was cancelled")
        if held is not None and held.taken.attempts >= settings.max_attempts:
            raise InternalError("the job's result could not be stored")
        if held is not None and held.taken.crashes >= settings.max_deliveries:
            raise CrashedTooOften(f"the job's worker died {held.taken.crashes} times")
        if remaining_seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the job waited in its queue")
        request = self.parse(args, kwargs)
        # Imported here: a backend that only sends jobs must not load an HTTP client.
        from local_llm_service.worker.engine import get_engine

        model = request.model or settings.model_name
        share = Share(self.kind, request, model, held)
        shared = share.claim(canvas=self._is_canvas)
        if shared is not None and held is not None:
            if shared.failed:
                raise self.backend.exception_to_python(shared.members)
            return shared_answer(self._task_id, shared, held)
        completion = get_engine().complete(
            self.kind.prompt(request, settings.max_output_tokens),
            model=model,
            remaining_seconds=remaining_seconds,
            stoppable=held,
        )
        answer = self._finished(request, completion, held, share)
        if held is not None and self._is_canvas:
            self._end_for_itself(answer, held)
        return answer

    def _end_for_itself(self, answer: dict[str, Any], held: Held) -> None:
        """Fail a job in a canvas that was cancelled, or is too late, while others waited with it.

        It could not leave them before, as its own end needs the message in hand; now they get the
        answer first.
        """
        try:
            unwanted = bool(jobs().client.hexists(keys.job(self._task_id), "unwanted"))
            if not unwanted and not held.is_overdue:
                return
            self.backend.give_to_others(self._task_id, held.taken.token, answer)
        except redis.RedisError:
            return  # it is answered, as if it had not been cancelled
        held.work = Work()
        if unwanted:
            raise Cancelled("the job was cancelled")
        raise DeadlineExceeded("the deadline passed while the job was running")

    def _finished(
        self, request: JobRequest, completion: Completion, held: Held | None, share: Share
    ) -> dict[str, Any]:
        work = Work(
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            generation_seconds=completion.load_seconds
            + completion.prompt_seconds
            + completion.generation_seconds,
        )
        share.note(work, cut=True)  # should it turn out to be no answer
        own_fields = self.kind.read(request, completion)
        share.note(replace(work, cacheable=True), cut=completion.finish_reason == "length")
        answer = self.kind.answer(
            task_id=self._task_id,
            kind=self.kind.name,
            model=completion.model or request.model or _settings().model_name,
            origin="computed",
            finish_reason=completion.finish_reason,
            usage=Usage(
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
            ),
            timings=Timings(
                queued_seconds=None if held is None else held.taken.queued_seconds,
                load_seconds=completion.load_seconds,
                prompt_seconds=completion.prompt_seconds,
                generation_seconds=completion.generation_seconds,
            ),
            **own_fields,
        )
        return answer.model_dump(mode="json")

    @property
    def _is_canvas(self) -> bool:
        request = self.request
        return bool(request.callbacks or request.errbacks or request.chain or request.chord)

    @property
    def _task_id(self) -> str:
        return str(self.request.id)


def register(kind: Kind) -> Job:
    """Make the Celery task `llm.<kind>`; it is bound to the app at first use, not at import."""

    def run(self: Job, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return Job.run(self, *args, **kwargs)

    run.__name__, run.__doc__, run.__module__ = kind.name, kind.promise, f"tasks.{kind.name}"
    task: Job = app.task(
        # Not shared: otherwise every other Celery app in the process would get this task too.
        run, name=f"llm.{kind.name}", base=Job, bind=True, shared=False, kind=kind
    )  # fmt: skip
    return task


#: Options of Celery by which others wait for a job.
_CANVAS = ("chain", "chord", "link", "link_error")


def _patiently(continued: bool, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Make a call to Redis; a worker that continues a chain waits for a Redis that is away.

    Its answer exists already: it must not be lost because the next step cannot be sent now.
    """
    end = time.monotonic() + CONTINUE_SECONDS
    while True:
        try:
            return call(*args, **kwargs)
        except BrokerUnreachable:
            if not continued or time.monotonic() > end:
                raise
            time.sleep(1)


#: In every message, where Celery would put a repr of the arguments.
_PRIVATE = {"argsrepr": "-", "kwargsrepr": "-"}


@lru_cache(maxsize=1)
def _settings() -> Any:
    # Imported here: reading the environment takes 0.1 s that `from tasks import ...` need not pay.
    from local_llm_service.worker.settings import get_settings

    return get_settings()


@lru_cache(maxsize=1)
def _limits() -> Limits:
    settings = _settings()
    return Limits(
        max_prompt_chars=settings.max_prompt_chars,
        max_messages=settings.max_messages,
        max_schema_depth=settings.max_schema_depth,
        max_output_tokens=settings.max_output_tokens,
    )


def _refuse_integer_priority(options: Mapping[str, Any]) -> None:
    if options.get("priority") is not None:
        raise InvalidRequest(
            "priority: a queue is chosen by a word, not by Celery's integer",
            'Give kwargs priority="high", "normal" or "low", or queue="llm.low".',
        )


def _queue_name(queue: Any, request: JobRequest, kind: Kind) -> str:
    """Celery's `queue=` where it is given, else by priority."""
    name = getattr(queue, "name", queue)
    if name is None:
        return keys.queue_of(request.priority or kind.default_priority)
    if name not in keys.QUEUES:
        raise InvalidRequest(
            f"queue: there is no queue {name!r}", f"Use one of: {', '.join(keys.QUEUES)}."
        )
    return str(name)


def _deadline(request: JobRequest, expires: Any) -> float:
    """Seconds from now: the earlier of `deadline_seconds` and Celery's `expires`."""
    deadlines = [request.deadline_seconds or _settings().deadline_seconds]
    if isinstance(expires, datetime):
        aware = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        deadlines.append((aware - datetime.now(UTC)).total_seconds())
    elif isinstance(expires, int | float) and not isinstance(expires, bool):
        deadlines.append(float(expires))
    elif expires is not None:
        raise InvalidRequest("expires: must be seconds or a datetime")
    if min(deadlines) <= 0:
        raise InvalidRequest("expires: is in the past")
    return float(min(deadlines))


def _place(error: Exception) -> str:
    """Type and innermost place of an error, and none of its words."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    return f"{type(error).__name__} at {where}"
