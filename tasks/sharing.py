"""How a job meets others that ask the same: where it is called, and where it starts.

Both sides make the same fingerprint of a request; what workers run (model, digest, settings) is
their word, and a caller takes it from Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import redis
from celery.exceptions import Ignore

from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.celery_ext.answers import NO_TIMINGS, Work, cached_result
from local_llm_service.worker.errors import Cancelled
from local_llm_service.worker.fingerprint import fingerprint, full_name
from local_llm_service.worker.lease.in_flight import HOLDINGS, Held
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Question
from local_llm_service.worker.store.local import flights
from local_llm_service.worker.store.single_flight import Claim, Shared

logger = logging.getLogger(__name__)

#: What workers agreed on when this process last heard of it. Redis compares it at every call.
_agreed: dict[str, str] = {}


def question(kind: Kind, request: JobRequest, task_id: str) -> Question:
    """What to look for in the cache, by what is known of the workers."""
    model = keys.DEFAULT_MODEL if request.model is None else full_name(request.model)
    agreed = _agreed.get(model, "")
    if not agreed:
        return Question(model)
    # Of the default model the table holds its name and its identity, of others the identity.
    name, _, identity = agreed.partition(" ") if request.model is None else (model, "", agreed)
    date_done = datetime.now(UTC).isoformat()
    before, after = cached_result(task_id, date_done)
    called = _fingerprint(kind, request, name, identity)
    return Question(model, agreed, called, before, after, date_done)


def learn(model: str, agreed: str) -> None:
    """Workers agree on something else than was thought."""
    _agreed[model] = agreed


class Share:
    """One job in a worker, before and after its work."""

    def __init__(self, kind: Kind, request: JobRequest, model: str, held: Held | None) -> None:
        self._kind, self._request, self._held = kind, request, held
        self._model, self._identity = full_name(model), None
        if held is not None and request.cache:
            self._identity = _identity(self._model)

    def claim(self, *, canvas: bool) -> Shared | None:
        """None: do the work. Else what somebody else has made of the same.

        Raises Ignore when there is nothing to do here: the job has joined another, or has its
        result, or is in other hands.
        """
        if self._held is None or not self._request.cache:
            return None
        taken = self._held.taken
        if self._identity is None:
            self._alone(taken.task_id)
            return None
        name = _fingerprint(self._kind, self._request, self._model, self._identity)
        try:
            claim, shared = flights().claim(taken.task_id, taken.token, name, canvas=canvas)
        except redis.RedisError as error:
            # Redis is away: better to do it twice than not at all.
            logger.warning("job %s runs for itself: %s", taken.task_id, type(error).__name__)
            return None
        if claim is Claim.CANCELLED:
            raise Cancelled("the job was cancelled")
        if claim is Claim.LEAD:
            self._held.wanted_seconds = self._waiting_seconds
            return None
        if shared is None:
            logger.info("job %s: %s", taken.task_id, claim)
            HOLDINGS.end(taken.token)
            raise Ignore
        origin = "cached" if claim is Claim.CACHED else "joined"
        self._held.work = Work(origin, shared.prompt_tokens, shared.completion_tokens)
        return shared

    def note(self, work: Work, *, cut: bool) -> None:
        """The work is done; `cut` where the model was stopped at its token budget."""
        if self._held is None:
            return
        whole = self._kind.cut_is_answer or not cut
        self._held.work = replace(work, cacheable=work.cacheable and whole and self._same_model())

    def _same_model(self) -> bool:
        """One that was pulled again in between is another."""
        return self._identity is not None and _identity(self._model) == self._identity

    def _alone(self, task_id: str) -> None:
        """Its caller may have noted it among those who ask the same; this worker shares nothing."""
        try:
            flights().leave(task_id)
        except redis.RedisError as error:
            logger.warning("job %s is still noted: %s", task_id, type(error).__name__)

    def _waiting_seconds(self) -> float:
        if self._held is None:
            return 0.0
        try:
            return flights().waiting_seconds(self._held.taken.task_id)
        except redis.RedisError:
            return 0.0


def shared_answer(task_id: str, shared: Shared, held: Held) -> dict[str, Any]:
    """The answer for a job that did not run: shared members and its own."""
    timings = {**NO_TIMINGS, "queued_seconds": held.taken.queued_seconds}
    return {"task_id": task_id, "origin": held.work.origin, **shared.members, "timings": timings}


def may_share(request: JobRequest, options: Mapping[str, Any]) -> bool:
    """Whether a call may be answered by what others asked: not one that is to start later."""
    return request.cache and options.get("eta") is None and not options.get("countdown")


def _fingerprint(kind: Kind, request: JobRequest, model: str, identity: str) -> str:
    return fingerprint(
        kind=kind.name,
        template_version=kind.template_version,
        model=model,
        identity=identity,
        content=request.content(),
        scope=request.cache_scope,
    )


def _identity(model: str) -> str | None:
    # Imported here: a backend that only sends jobs must not load an HTTP client.
    from local_llm_service.worker.intake.model_catalog import get_serving

    return get_serving().identity(model)
