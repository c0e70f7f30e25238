"""Celery's result backend over Redis, with one way for a job to get its result: settle.lua.

One script stores and announces the result, ends the delivery and writes into the record how the job
ended. So a worker cannot die between answer and acknowledgement, and a worker that has lost its
lease cannot store a second answer. How callers wait and read is in result_reading.py.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import redis
from celery import states

from local_llm_service.worker.celery_ext.result_format import result_text
from local_llm_service.worker.celery_ext.result_reading import ReadsResults
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    ServiceError,
)
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.outcomes import UNHELD, Ending, Settled, SettleFor, Work
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import Store, process_store
from local_llm_service.worker.task_names import is_foreign

logger = logging.getLogger(__name__)

#: Redis's errors when it is there and cannot write.
_NOT_NOW = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
)
_NOT_NOW_WORDS = ("OOM", "MISCONF", "READONLY", "LOADING", "MASTERDOWN", "BUSY", "NOREPLICAS")

#: Failures that leave no dead letter, because nobody needs to look into them.
_NO_LETTER = {Cancelled.code}
#: Failures of one caller, not of the work: all others who wait for the same work go on waiting.
_CALLERS_OWN = {Cancelled.code, DeadlineExceeded.code}


class Backend(ReadsResults):
    """The backend that `result_backend` names."""

    def _add_global_keyprefix(self) -> None:
        """Put our prefix before Celery's key names unchanged: Celery 5.4 would add a `_` to it."""
        prefix = self.app.conf.result_backend_transport_options["global_keyprefix"]
        for name in ("task_keyprefix", "group_keyprefix", "chord_keyprefix"):
            setattr(self, name, f"{prefix}{getattr(self, name)}")

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Also try again while Redis says that it cannot write now: full, read-only, loading."""
        return isinstance(exc, _NOT_NOW) or _is_not_now(exc) or super().exception_safe_to_retry(exc)

    def decode_result(self, payload: Any) -> dict[str, Any]:
        """Read a result; one that nobody can read is the failure of its own job, not an exception
        in whoever happens to wait for another."""
        try:
            meta: dict[str, Any] = super().decode_result(payload)
            _ = meta["status"]
        except Exception as error:  # noqa: BLE001  # an edge: a key can hold anything
            logger.error("a stored result cannot be read: %s", type(error).__name__)
            return {
                "status": states.FAILURE,
                "result": InternalError("the stored result cannot be read"),
                "traceback": None,
                "children": [],
                "task_id": "?",  # of no job: whoever waits for this one reads its key
            }
        return meta

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
        # The transport has put both into the message of a job that runs here.
        in_flight = getattr(request, "llm_delivery", None)
        runtime = getattr(request, "llm_runtime", None)
        followed = _is_followed(request, state)
        token = UNHELD if in_flight is None else in_flight.delivery.token
        work = Work() if in_flight is None else in_flight.work
        error = self.exception_to_python(result) if state != states.SUCCESS else None
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        store = process_store() if runtime is None else runtime.store
        settled, followers = _settle(store, task_id, token, meta, error, work, followed=followed)
        if settled is not Settled.STORED:
            logger.warning("job %s: result not stored: %s", task_id, settled)
        if runtime is not None:
            # What comes after the job is written down with its result: celery_ext/afterwork.py.
            request.chord = request.chain = request.errbacks = None
            if followed or followers or not getattr(request, "llm_submitted", False):
                runtime.nudge_afterwork()
            runtime.in_flight.end(token)
        return result

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Say in the body where its parts are counted: here, or with another app's parts there."""
        from local_llm_service.worker.celery_ext.foreign_steps import (
            COUNTED,
            ELSEWHERE,
            HERE,
            has_foreign_part,
        )

        if not has_foreign_part(header_result_args[1]):
            body[COUNTED] = HERE
            super().apply_chord(header_result_args, body, **kwargs)
            return
        body[COUNTED] = ELSEWHERE
        self._counted_elsewhere.add(header_result_args[0])
        self._plain_backend().apply_chord(header_result_args, body, **kwargs)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Write down how many parts the chord has, where they are counted."""
        if group_id in self._counted_elsewhere:
            self._counted_elsewhere.discard(group_id)
            self._plain_backend().set_chord_size(group_id, chord_size)
        else:
            super().set_chord_size(group_id, chord_size)

    @cached_property
    def _counted_elsewhere(self) -> set[str]:
        """Groups that this process is about to send."""
        return set()

    def _plain_backend(self) -> Any:
        from local_llm_service.worker.celery_ext.plain_app import plain_app

        return plain_app().backend

    def chord_error_from_stack(self, callback: Any, exc: Exception | None = None) -> Any:
        """Fail a chord's body; one of another app gets the failure where that app looks."""
        found = super().chord_error_from_stack(callback, exc)
        if exc is not None and is_foreign(callback.task) and callback.id:
            self._plain_backend().store_result(callback.id, exc, states.FAILURE)
        return found

    def settle_waiters(
        self, task_id: str, token: str, answer: dict[str, Any], work: Work
    ) -> list[str]:
        """Give an answer to all waiters of a job that itself is to end in another way.

        Returns the followers that have got the answer. Raises redis-py's errors.
        """
        meta = self._get_result_meta(answer, states.SUCCESS, None, None)
        return _settle(process_store(), task_id, token, meta, None, work, SettleFor.WAITERS)[1]

    def fail(
        self, task_id: str, error: ServiceError, *, token: str = UNHELD
    ) -> tuple[Settled, list[str]]:
        """Store the failure of a job that no slot runs.

        Returns what was done, and the followers that have got the same failure. Raises redis-py's
        errors.
        """
        store = process_store()
        return store.drive(self.failing(store.jobs.moves, task_id, error, token=token))

    def failing(
        self, moves: Moves, task_id: str, error: ServiceError, *, token: str = UNHELD
    ) -> Calls[tuple[Settled, list[str]]]:
        """The same as calls to Redis."""
        meta = self._get_result_meta(self.prepare_exception(error), states.FAILURE, None, None)
        return moves.settle(task_id, token, _ending(task_id, meta, error, Work()))


def try_without_end(app: Any) -> None:
    """Let this process's backend try again while Redis is away: a worker's, never a caller's."""
    app.conf.result_backend_always_retry = True
    app.backend.always_retry = True


def fail(runtime: Any, task_id: str, error: ServiceError, *, token: str = UNHELD) -> Settled:
    """Backend.fail for a worker.

    Raises redis-py's errors.
    """
    from local_llm_service.worker.app import app

    settled, _ = app.backend.fail(task_id, error, token=token)
    return Settled(settled)


def _settle(
    store: Store,
    task_id: str,
    token: str,
    meta: dict[str, Any],
    error: Exception | None,
    work: Work,
    settle_for: SettleFor | None = None,
    followed: bool | None = None,
) -> tuple[Settled, list[str]]:
    ending = _ending(task_id, meta, error, work, settle_for, followed)
    return store.jobs.settle(task_id, token, ending)


def _ending(
    task_id: str,
    meta: dict[str, Any],
    error: Exception | None,
    work: Work,
    settle_for: SettleFor | None = None,
    followed: bool | None = None,
) -> Ending:
    code = "" if error is None else getattr(error, "code", InternalError.code)
    own = SettleFor.CALLER if code in _CALLERS_OWN else SettleFor.EVERYONE
    return Ending(
        state=_state(meta["status"], error),
        error=code,
        settle_for=settle_for or own,
        keep_letter=error is not None and code not in _NO_LETTER,
        result=result_text({**meta, "task_id": task_id}),
        work=work,
        followed=followed,
    )


def _is_followed(request: Any, state: str) -> bool | None:
    """Whether Celery calls something after a job has ended; None where the request does not say."""
    if getattr(request, "task", None) is None:
        return None
    fails_others = state != states.SUCCESS and (request.chain or request.errbacks)
    return bool(request.chord or fails_others)


def _state(state: str, error: Exception | None) -> JobState:
    if state == states.SUCCESS:
        return JobState.SUCCEEDED
    if state == states.REVOKED or isinstance(error, Cancelled):
        return JobState.CANCELLED
    return JobState.FAILED


def _is_not_now(exc: Exception) -> bool:
    return isinstance(exc, redis.ResponseError) and any(w in str(exc) for w in _NOT_NOW_WORDS)
