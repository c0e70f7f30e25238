"""The caller's half of a job's path: validate → fingerprint → admit → publish.

Two doors: `submit` for `.delay()` and Celery's canvas, where Celery publishes through the
transport; `submission` for the clients, whose drivers make every call to Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from celery.result import AsyncResult

from local_llm_service.tasks.admission import (
    CANVAS,
    admission,
    forgetting,
    may_share,
    new_job,
    refuse_integer_priority,
)
from local_llm_service.tasks.kind import JobTask
from local_llm_service.tasks.options import (
    check_options,
    check_task_id,
    fail_step,
    unsendable,
)
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.celery_ext import patience
from local_llm_service.worker.celery_ext.queue_full import queue_full
from local_llm_service.worker.celery_ext.result_format import cached_meta, cached_result
from local_llm_service.worker.celery_ext.send_errors import SEND_ERRORS, UNSENDABLE
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    InvalidRequest,
    QueueFull,
    ServiceError,
)
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import Admission, Admitted, NewJob
from local_llm_service.worker.store.store import process_store

#: Replaces the repr of the arguments that Celery would put into every message.
_PRIVATE = {"argsrepr": "-", "kwargsrepr": "-"}

#: Celery's own `apply_async` of the task.
Send = Callable[..., AsyncResult]
T = TypeVar("T")


class Submitted:
    """A job that is there. `result` is its result as Redis holds it, where the cache had it."""

    def __init__(self, task_id: str, result: str | None = None) -> None:
        self.task_id, self.result = task_id, result


def submit(
    job: JobTask,
    send: Send,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    task_id: str | None,
    options: dict[str, Any],
) -> AsyncResult:
    """Answer a call from the cache, or queue it; see Job.apply_async."""
    # A worker makes this call for the next step of a chain or a callback. Nobody is there to catch
    # an exception, so bad input has to become the failure of the new job instead.
    continued = options.get("parent_id") is not None or patience.is_repeated()
    _prepare_canvas(options)
    try:
        request = job.parse(args, kwargs)
    except InvalidRequest:
        if not continued:
            raise
        return send(args, kwargs, task_id, **options, **_PRIVATE)
    # Not conf.task_always_eager, which takes 40 µs. Who sets it, for tests, sets it on this app.
    if job.app.conf.changes.get("task_always_eager"):
        return send(args, kwargs, task_id, **options)
    request = _within_settings(request)
    try:
        return _submit(job, send, request, task_id, options, continued=continued)
    except InvalidRequest as error:
        if not continued:
            raise
        return fail_step(job, task_id, options, error)


def _submit(
    job: JobTask,
    send: Send,
    request: JobRequest,
    task_id: str | None,
    options: dict[str, Any],
    *,
    continued: bool,
) -> AsyncResult:
    check_task_id(task_id)
    refuse_integer_priority(options)
    new = new_job(job.kind, request, task_id, options, continued=continued)
    check_options(options, new.deadline_seconds)
    admitted = _patiently(continued, _admit, job, new, request, may_share(request, options))
    if admitted.decision is Admission.HIT:
        return _answered(job, new.task_id, admitted)
    if admitted.decision is Admission.EXISTS:
        return job.AsyncResult(new.task_id)
    if admitted.decision is Admission.FULL:
        raise queue_full(new.queue, admitted.backlog)
    options["queue"] = new.queue
    return _patiently(continued, _publish, send, request, new, options, admitted.nonce)


def _admit(job: JobTask, new: NewJob, request: JobRequest, shares: bool) -> Admitted:
    store = process_store()
    calls = admission(store.jobs.moves, store.eviction, job.kind, new, request, shares)
    return store.drive(calls)


def submission(
    job: JobTask,
    send: Send,
    arguments: Mapping[str, Any],
    task_id: str | None,
    moves: Moves,
    eviction: EvictionCheck,
) -> Calls[Submitted]:
    """Answer a client's call from the cache, or queue it; see KindTask.submission."""
    request = _within_settings(job.parse((), arguments))
    check_task_id(task_id)
    new = new_job(job.kind, request, task_id, {}, continued=False)
    shares = may_share(request, {})
    admitted = yield from admission(moves, eviction, job.kind, new, request, shares)
    if admitted.decision is Admission.HIT:
        before, after = cached_result(new.task_id, admitted.date_done)
        return Submitted(new.task_id, f"{before}{admitted.text}{after}")
    if admitted.decision is Admission.EXISTS:
        return Submitted(new.task_id)
    if admitted.decision is Admission.FULL:
        raise queue_full(new.queue, admitted.backlog)
    try:
        yield from _putting(send, request, new, moves, admitted.nonce)
    except GeneratorExit:
        raise
    except BaseException as error:
        # Whatever is wrong, also that the caller has been interrupted: nothing is left of the job.
        yield from forgetting(moves, new.task_id, admitted.nonce)
        if (told := _told(error)) is not None:
            raise told from None
        raise
    return Submitted(new.task_id)


def _putting(send: Send, request: JobRequest, new: NewJob, moves: Moves, nonce: str) -> Calls[None]:
    from local_llm_service.worker.celery_ext.recording import recorded

    options = {"queue": new.queue, "headers": {"llm_submitted": nonce}, **_PRIVATE}
    kwargs = _sent(request)
    message = recorded(lambda producer: send((), kwargs, new.task_id, producer=producer, **options))
    backlog = yield from moves.put(*message.put_arguments)
    if backlog is not None:
        raise message.refused(backlog)


def _answered(job: JobTask, task_id: str, admitted: Admitted) -> AsyncResult:
    """The handle of a job that the cache has answered, with the answer in it."""
    result = job.AsyncResult(task_id)
    result._cache = cached_meta(task_id, admitted.date_done, admitted.text)
    return result


def _publish(
    send: Send, request: JobRequest, new: NewJob, options: dict[str, Any], nonce: str
) -> AsyncResult:
    kwargs = _sent(request)
    options["headers"] = {**(options.get("headers") or {}), "llm_submitted": nonce}
    try:
        return send((), kwargs, new.task_id, **options, **_PRIVATE)
    except QueueFull:
        _forget(new.task_id, nonce)
        raise
    except BaseException as error:
        # Whatever is wrong, no message will come: nothing is left of the job but this error. A
        # worker that continues a chain sends it again: the record must be there then, as a message
        # without one is dropped. Should it give up, the job ends at its deadline.
        if not new.continued:
            _forget(new.task_id, nonce)
        if (told := _told(error)) is not None:
            raise told from None
        raise


def _told(error: BaseException) -> ServiceError | None:
    """What a caller is told of an error on the way into the queue; None for the error itself."""
    if isinstance(error, UNSENDABLE):
        return unsendable(error)
    if isinstance(error, SEND_ERRORS):
        return unreachable(lazy_settings().redis_url, error)
    return None


def _sent(request: JobRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _within_settings(request: JobRequest) -> JobRequest:
    if lazy_settings().enable_cache:
        return request
    return request.model_copy(update={"cache": False})  # in the worker, too


def _forget(task_id: str, nonce: str) -> None:
    store = process_store()
    store.drive(forgetting(store.jobs.moves, task_id, nonce))


def _patiently(continued: bool, call: Callable[..., T], *args: Any) -> T:
    """Make a call to Redis; a worker that continues a chain waits while Redis is away.

    The answer of the step before exists and must not be lost because the next cannot be sent now.
    """
    end = time.monotonic() + patience.patience_seconds()
    while True:
        try:
            return call(*args)
        except BrokerUnreachable:
            if not continued or time.monotonic() > end:
                raise
            time.sleep(1)


def _prepare_canvas(options: dict[str, Any]) -> None:
    """Let steps of other apps know their queues, while their signatures still know their app."""
    if not any(options.get(word) for word in CANVAS):
        return
    from local_llm_service.worker.celery_ext.foreign_steps import resolve
    from local_llm_service.worker.celery_ext.plain_app import is_ours

    producer = options.get("producer")
    resolve(options, by_other_app=producer is not None and not is_ours(producer))
