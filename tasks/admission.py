"""Whether a call becomes a job: its queue, its deadline, the cache; for `.delay()` and the clients.

Pure: what is asked of Redis are calls (worker/store/calls.py). The workers decide what they run
(model, digest, settings): a caller reads their consensus from Redis and makes the same fingerprint
as they do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import redis

from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.celery_ext.default_queue import DefaultQueue
from local_llm_service.worker.celery_ext.result_format import cached_result
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.fingerprint import fingerprint, full_name
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import Admission, Admitted, CacheQuery, NewJob

logger = logging.getLogger(__name__)

#: Celery's options that make other tasks wait for a job.
CANVAS = ("chain", "chord", "link", "link_error")
#: The workers' consensus as this process last read it. Redis checks it at every call.
_consensus: dict[str, str] = {}


def new_job(
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
        canvas=bool(options) and any(options.get(word) for word in CANVAS),
        has_new_id=not task_id,
        continued=continued,
        model=keys.DEFAULT_MODEL if request.model is None else full_name(request.model),
        stream=request.stream,
        tenant=_tenant(request.cache_scope),
    )


def admission(
    moves: Moves,
    eviction: EvictionCheck,
    kind: Kind,
    new: NewJob,
    request: JobRequest,
    shares: bool,
) -> Calls[Admitted]:
    """Answer the job from the cache, or admit it. Raises BrokerUnreachable and BrokerUnsafe."""
    try:
        # A worker that continues a chain has asked at its start.
        if not (new.continued or lazy_settings().allow_eviction):
            yield from eviction.refuse_jobs()
        # Two tries, because the first call of a process, or after a model was pulled, only learns
        # the workers' consensus. If that changes again in between, the call goes without the cache.
        for _ in range(2 if shares else 0):
            query = _cache_query(kind, request, new.task_id)
            admitted = yield from moves.submit(new, query)
            if admitted.decision is not Admission.STALE:
                return admitted
            _consensus[query.model] = admitted.text
        return (yield from moves.submit(new))
    except redis.RedisError as error:
        raise unreachable(lazy_settings().redis_url, error) from None


def forgetting(moves: Moves, task_id: str, nonce: str) -> Calls[None]:
    """Leave nothing of a job whose caller is told that it was not queued."""
    try:
        # The send has taken up to 4 of the 5 s in which the caller is to be told.
        yield from moves.forget(task_id, nonce)
    except redis.RedisError:
        logger.warning("the record of unsent job %s stays until it expires", task_id)


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


def text_name(kind: Kind, request: JobRequest, model: str, revision: str, text: str) -> str:
    """The fingerprint of one text of a request, whatever else that asks for."""
    return fingerprint(
        kind=f"{kind.name}, one text",
        template_version=kind.template_version,
        model=model,
        revision=revision,
        content={"text": text},
        scope=request.cache_scope,
    )


def may_share(request: JobRequest, options: Mapping[str, Any]) -> bool:
    """Whether an answer to someone else may answer this call: not if it is to start later."""
    return request.cache and options.get("eta") is None and not options.get("countdown")


def refuse_integer_priority(options: Mapping[str, Any]) -> None:
    if options.get("priority") is not None:
        raise InvalidRequest(
            "priority: a queue is chosen by a word, not by Celery's integer",
            'Give kwargs priority="high", "normal" or "low", or queue="llm.low".',
        )


def _tenant(scope: str | None) -> str:
    if scope is None:
        return ""
    from local_llm_service.worker.store.savings import tenant_of  # most producers need none

    return tenant_of(scope)


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
