"""Celery's result backend over Redis, with one way for a job to get its result: settle.lua.

In one script the result is stored and announced, the message leaves custody and the record says how
it ended. So there is no moment at which a worker can die between answer and acknowledgement, and a
worker that has lost its lease cannot store a second answer.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from celery import states
from celery.backends.redis import RedisBackend

from local_llm_service.worker.celery_ext.answers import Work
from local_llm_service.worker.celery_ext.ending import Ending, Ends, result_of
from local_llm_service.worker.celery_ext.events import tell_of_joined
from local_llm_service.worker.errors import Cancelled, DeadlineExceeded, InternalError, ServiceError
from local_llm_service.worker.lease.in_flight import HOLDINGS
from local_llm_service.worker.store.jobs import UNHELD, JobState, Settled
from local_llm_service.worker.store.local import jobs

logger = logging.getLogger(__name__)

#: What Redis says when it is there and cannot write.
_NOT_NOW = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
)


def _is_not_now(exc: Exception) -> bool:
    words = ("OOM", "MISCONF", "READONLY", "LOADING", "MASTERDOWN", "BUSY", "NOREPLICAS")
    return isinstance(exc, redis.ResponseError) and any(word in str(exc) for word in words)


#: Failures that nobody needs to look into: no dead letter.
_NO_LETTER = {Cancelled.code}
#: Ends of one caller, not of the work: who waits for the same goes on waiting.
_OWN = {Cancelled.code, DeadlineExceeded.code}


class Backend(RedisBackend):
    """What `result_backend` names."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Try again also while Redis answers that it cannot write now: full, read-only, loading."""
        return isinstance(exc, _NOT_NOW) or _is_not_now(exc) or super().exception_safe_to_retry(exc)

    def add_pending_result(
        self, result: Any, weak: bool = False, start_drainer: bool = True
    ) -> Any:
        """Look once before subscribing: a result that is there needs no subscription."""
        if not self._is_subscribed(result.id) and result.ready():
            if not result.on_ready.ready:
                result.on_ready(result)
            return result
        return super().add_pending_result(result, weak=weak, start_drainer=start_drainer)

    def wait_for_pending(
        self, result: Any, callback: Any = None, propagate: bool = True, **kwargs: Any
    ) -> Any:
        """As Celery's; a result that is in hand is not asked for again."""
        if result._cache is not None:
            return result.maybe_throw(callback=callback, propagate=propagate)
        return super().wait_for_pending(result, callback=callback, propagate=propagate, **kwargs)

    def on_result_fulfilled(self, result: Any) -> None:
        """Unsubscribe from what was subscribed to: not from an answer that was there at once."""
        if self._is_subscribed(result.id):
            super().on_result_fulfilled(result)

    def _is_subscribed(self, task_id: str) -> bool:
        return self.get_key_for_task(task_id) in self.result_consumer.subscribed_to

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        if state not in states.READY_STATES:
            return super()._store_result(task_id, result, state, traceback, request, **kwargs)
        token = getattr(request, "llm_token", None) or UNHELD
        error = self.exception_to_python(result) if state != states.SUCCESS else None
        settled = self.settle(task_id, token, result, state, error, traceback, request)
        if settled is not Settled.STORED:
            logger.warning("job %s: result not stored: %s", task_id, settled)
        HOLDINGS.end(token)
        return result

    def settle(
        self,
        task_id: str,
        token: str,
        result: Any,
        state: str,
        error: Exception | None,
        traceback: Any = None,
        request: Any = None,
    ) -> Settled:
        """Store `result` (encoded as Celery does) under a fence token. Raises redis-py's errors."""
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = task_id
        code = getattr(error, "code", InternalError.code) if error is not None else ""
        return self._settle(token, meta, error, Ends.OWN if code in _OWN else Ends.WORK)

    def give_to_others(self, task_id: str, token: str, answer: dict[str, Any]) -> None:
        """Give an answer to all who wait with a job, which itself is to end in another way.

        Raises redis-py's errors.
        """
        meta = self._get_result_meta(answer, states.SUCCESS, None, None)
        self._settle(token, {**meta, "task_id": task_id}, None, Ends.OTHERS)

    def _settle(
        self, token: str, meta: dict[str, Any], error: Exception | None, ends: Ends
    ) -> Settled:
        code = getattr(error, "code", InternalError.code) if error is not None else ""
        held = HOLDINGS.get(token)
        ending = Ending(
            state=_word(meta["status"], error),
            error=code,
            ends=ends,
            dead=error is not None and code not in _NO_LETTER,
            result=result_of(meta),
            work=Work() if held is None else held.work,
        )
        settled, joined = jobs().settle(meta["task_id"], token, ending)
        if joined:
            tell_of_joined(joined, error)
        return settled

    def fail(self, task_id: str, error: ServiceError, *, token: str = UNHELD) -> Settled:
        """Give a job that no worker runs its failure. Raises redis-py's errors."""
        result = self.prepare_exception(error)
        return self.settle(task_id, token, result, states.FAILURE, error)


def _word(state: str, error: Exception | None) -> JobState:
    if state == states.SUCCESS:
        return JobState.SUCCEEDED
    if state == states.REVOKED or isinstance(error, Cancelled):
        return JobState.CANCELLED
    return JobState.FAILED


#: Errors that mean: Redis does not answer now.
AWAY = (redis.ConnectionError, redis.TimeoutError)
