"""The caller's half of a job's path: validate → fingerprint → admit → publish.

The workers decide what they run (model, digest, settings): a caller reads their consensus from
Redis and makes the same fingerprint as they do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

import redis
from celery.result import AsyncResult

from local_llm_service.tasks.kind import JobTask, Kind
from local_llm_service.tasks.options import (
    check_options,
    check_task_id,
    fail_step,
    unsendable,
)
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.celery_ext import patience
from local_llm_service.worker.celery_ext.default_queue import DefaultQueue
from local_llm_service.worker.celery_ext.queue_full import queue_full
from local_llm_service.worker.celery_ext.result_format import cached_meta, cached_result
from local_llm_service.worker.celery_ext.send_errors import SEND_ERRORS, UNSENDABLE
from local_llm_service.worker.errors import BrokerUnreachable, InvalidRequest, QueueFull
from local_llm_service.worker.fingerprint import fingerprint, full_name
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.states import Admission, Admitted, CacheQuery, NewJob
from local_llm_service.worker.store.store import process_store

logger = logging.getLogger(__name__)

#: Celery's options that make other tasks wait for a job.
_CANVAS = ("chain", "chord", "link", "link_error")
#: Replaces the repr of the arguments that Celery would put into every message.
_PRIVATE = {"argsrepr": "-", "kwargsrepr": "-"}
#: The workers' consensus as this process last read it. Redis checks it at every call.
_consensus: dict[str, str] = {}

#: Celery's own `apply_async` of the task.
Send = Callable[..., AsyncResult]
T = TypeVar("T")


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
    if not lazy_settings().enable_cache:
        request = request.model_copy(update={"cache": False})  # in the worker, too
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
    _refuse_integer_priority(options)
    new = _new_job(job.kind, request, task_id, options, continued=continued)
    check_options(options, new.deadline_seconds)
    admitted = _patiently(continued, _admit, job.kind, new, request, _may_share(request, options))
    if admitted.decision is Admission.HIT:
        return _answered(job, new.task_id, admitted)
    if admitted.decision is Admission.EXISTS:
        return job.AsyncResult(new.task_id)
    if admitted.decision is Admission.FULL:
        raise queue_full(new.queue, admitted.backlog)
    options["queue"] = new.queue
    return _patiently(continued, _publish, send, request, new, options, admitted.nonce)


def _new_job(
    kind: Kind,
    request: JobRequest,
    task_id: str | None,
    options: dict[str, Any],
    *,
    continued: bool,
) -> NewJob:
    """The job to admit; removes from `options` those that only admission needs."""
    return NewJob(
        task_id or str(uuid4()),
        kind.name,
        _queue_name(options.pop("queue", None), request, kind),
        _deadline_seconds(request, options.pop("expires", None)),
        max_length=0 if continued else lazy_settings().max_queue_length,
        max_bytes=0 if continued else lazy_settings().max_queue_bytes,
        canvas=bool(options) and any(options.get(word) for word in _CANVAS),
        has_new_id=not task_id,
        continued=continued,
        model=keys.DEFAULT_MODEL if request.model is None else full_name(request.model),
        stream=request.stream,
    )


def _admit(kind: Kind, new: NewJob, request: JobRequest, shares: bool) -> Admitted:
    store = process_store()
    jobs = store.jobs
    try:
        # A worker that continues a chain has asked at its start.
        if not (new.continued or lazy_settings().allow_eviction):
            store.eviction.refuse_jobs()
        # Two tries, because the first call of a process, or after a model was pulled, only learns
        # the workers' consensus. If that changes again in between, the call goes without the cache.
        for _ in range(2 if shares else 0):
            query = _cache_query(kind, request, new.task_id)
            admitted = jobs.submit(new, query)
            if admitted.decision is not Admission.STALE:
                return admitted
            _consensus[query.model] = admitted.text
        return jobs.submit(new)
    except redis.RedisError as error:
        raise unreachable(lazy_settings().redis_url, error) from None


def _cache_query(kind: Kind, request: JobRequest, task_id: str) -> CacheQuery:
    """The query to the cache, made from the workers' consensus as far as it is known."""
    model = keys.DEFAULT_MODEL if request.model is None else full_name(request.model)
    consensus = _consensus.get(model, "")
    if not consensus:
        return CacheQuery(model)
    # The table holds the default model's name and revision, and other models' revisions.
    name, _, revision = (
        consensus.partition(" ") if request.model is None else (model, "", consensus)
    )
    date_done = datetime.now(UTC).isoformat()
    before, after = cached_result(task_id, date_done)
    named = fingerprint_of(kind, request, name, revision)
    return CacheQuery(model, consensus, named, before, after, date_done)


def fingerprint_of(kind: Kind, request: JobRequest, model: str, revision: str) -> str:
    """The fingerprint of a request to one revision of a model (its full name)."""
    return fingerprint(
        kind=kind.name,
        template_version=kind.template_version,
        model=model,
        revision=revision,
        content=request.content(),
        scope=request.cache_scope,
    )


def _answered(job: JobTask, task_id: str, admitted: Admitted) -> AsyncResult:
    """The handle of a job that the cache has answered, with the answer in it."""
    result = job.AsyncResult(task_id)
    result._cache = cached_meta(task_id, admitted.date_done, admitted.text)
    return result


def _publish(
    send: Send, request: JobRequest, new: NewJob, options: dict[str, Any], nonce: str
) -> AsyncResult:
    kwargs = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
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
        if isinstance(error, UNSENDABLE):
            raise unsendable(error) from None
        if isinstance(error, SEND_ERRORS):
            raise unreachable(lazy_settings().redis_url, error) from None
        raise


def _forget(task_id: str, nonce: str) -> None:
    try:
        # The send has taken up to 4 of the 5 s in which the caller is to be told.
        process_store().in_a_hurry(lazy_settings().redis_url).forget(task_id, nonce)
    except redis.RedisError:
        logger.warning("the record of unsent job %s stays until it expires", task_id)


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
    if not any(options.get(word) for word in _CANVAS):
        return
    from local_llm_service.worker.celery_ext.foreign_steps import resolve
    from local_llm_service.worker.celery_ext.plain_app import is_ours

    producer = options.get("producer")
    resolve(options, by_other_app=producer is not None and not is_ours(producer))


def _may_share(request: JobRequest, options: Mapping[str, Any]) -> bool:
    """Whether an answer to someone else may answer this call: not if it is to start later."""
    return request.cache and options.get("eta") is None and not options.get("countdown")


def _refuse_integer_priority(options: Mapping[str, Any]) -> None:
    if options.get("priority") is not None:
        raise InvalidRequest(
            "priority: a queue is chosen by a word, not by Celery's integer",
            'Give kwargs priority="high", "normal" or "low", or queue="llm.low".',
        )


def _queue_name(queue: Any, request: JobRequest, kind: Kind) -> str:
    """The name in Celery's `queue=` if given, otherwise the queue of the priority."""
    name = getattr(queue, "name", queue)
    if name is None or isinstance(name, DefaultQueue):
        return keys.queue_of(request.priority or kind.default_priority)
    if name not in keys.QUEUES:
        raise InvalidRequest(
            f"queue: there is no queue {name!r}", f"Use one of: {', '.join(keys.QUEUES)}."
        )
    return str(name)


def _deadline_seconds(request: JobRequest, expires: Any) -> float:
    """Seconds from now to the earlier of `deadline_seconds` and Celery's `expires`."""
    deadlines = [request.deadline_seconds or lazy_settings().deadline_seconds]
    if isinstance(expires, datetime):
        aware = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        deadlines.append((aware - datetime.now(UTC)).total_seconds())
    elif isinstance(expires, int | float) and not isinstance(expires, bool) and expires == expires:
        deadlines.append(float(expires))
    elif expires is not None:
        raise InvalidRequest("expires: must be seconds or a datetime")
    if min(deadlines) <= 0:
        raise InvalidRequest("expires: is in the past")
    return float(min(deadlines))
