"""Counts the parts of a chord and calls its body; fails what comes after a job that failed.

All of it can be repeated, because a worker can die at any moment (celery_ext/afterwork.py): a part
is counted once, a body of ours is submitted under one id, and a result is stored once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from celery import states
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, allow_join_result

from local_llm_service.worker.celery_ext.foreign_steps import COUNTED, ELSEWHERE
from local_llm_service.worker.celery_ext.plain_app import plain_app
from local_llm_service.worker.celery_ext.send_errors import SEND_ERRORS
from local_llm_service.worker.errors import BrokerUnreachable, QueueFull
from local_llm_service.worker.task_names import is_foreign

logger = logging.getLogger(__name__)

#: How long one worker alone calls the body of a chord; then another may.
CLAIM_SECONDS = 6
#: How long a chord whose body was called is remembered, so that a late repetition is ignored.
DONE_SECONDS = 3600
#: What passes: to be tried again.
PASSING = (BrokerUnreachable, QueueFull, *SEND_ERRORS)


class NotYetError(Exception):
    """Another worker has claimed the call of a chord's body, and may die before it is made."""


def count_part(backend: Any, request: Any, state: str, result: Any, *, by_name: bool) -> None:
    """Count one part; the last one calls the body.

    `by_name`: another app sent the message, so its result backend has the chord unless the message
    says otherwise. Raises PASSING and NotYetError: then count it again.
    """
    if not request.group or not request.id:
        return
    where = request.chord.get(COUNTED) or (ELSEWHERE if by_name else None)
    if where == ELSEWHERE:
        _count_elsewhere(request, state, result)
    else:
        _count_here(backend, request, state, result)


def _count_elsewhere(request: Any, state: str, result: Any) -> None:
    other = plain_app().backend
    other.on_chord_part_return(request, state, result)
    if hasattr(other, "client") and hasattr(other, "_chord_part_return_script"):
        claim = other.client.get(other.get_key_for_group(request.group, ".c"))
        if claim is not None and claim != b"done":
            raise NotYetError


def _count_here(backend: Any, request: Any, state: str, result: Any) -> None:
    group = request.group
    key = backend.get_key_for_group
    parts, diff, size, done, claim = (key(group, end) for end in (".j", ".t", ".s", ".d", ".c"))
    token = uuid4().hex
    encoded = backend.encode([1, request.id, state, backend.encode_result(result, state)])
    place = "+inf" if request.group_index is None else request.group_index
    counted, more, expected, claimed = backend._chord_part_return_script(
        keys=[parts, diff, size, done, key(group), claim],
        args=[request.id, encoded, 1, place, backend.chord_expires or 0,
              backend._chord_result_expires, CLAIM_SECONDS, token],
        client=backend.client,
    )  # fmt: skip
    if not expected or counted != int(expected) + int(more or 0):
        return  # others are missing, or the body was called before
    if not claimed:
        raise NotYetError
    _call_body(backend, request, parts)
    backend._chord_cleanup_script(
        keys=[claim, parts, diff, size, done], args=[token, DONE_SECONDS], client=backend.client
    )


def _call_body(backend: Any, request: Any, parts: bytes) -> None:
    body = maybe_signature(request.chord, app=backend.app)
    try:
        body.delay(_results(backend, request.group, parts))
    except PASSING:
        raise
    except ChordError as error:
        backend.chord_error_from_stack(body, error)
    except Exception as error:  # noqa: BLE001  # an edge: the canvas is other people's
        kind = type(error).__name__
        logger.error("chord %s: its body cannot be called: %s", request.group, kind)
        backend.chord_error_from_stack(body, ChordError(f"the body cannot be called ({kind})"))


def _results(backend: Any, group: str, parts: bytes) -> list[Any]:
    """The parts' results in their order. Raises ChordError if one has failed."""
    nested = GroupResult.restore(group, app=backend.app)
    if nested is not None:  # apply_chord has saved the structure of a header with groups in it
        nested.on_ready()
        with allow_join_result():
            found: list[Any] = nested.join_native(timeout=3.0, propagate=False)
        return [_or_chord_error(one) for one in found]
    raw = backend.client.zrange(parts, 0, -1)
    return [backend._unpack_chord_result(one, backend.decode) for one in raw]


def _or_chord_error(result: Any) -> Any:
    if isinstance(result, Exception):
        raise ChordError(f"a part of the chord failed ({type(result).__name__})") from result
    return result


def fail_chain(backend: Any, request: Any, error: Exception, *, by_name: bool) -> None:
    """Give the failure of a job to all later steps of its chain, and to chords that wait for them.

    A step of another app gets it where that app looks. Raises PASSING and NotYetError.
    """
    waiting = deque(request.chain or ())
    while waiting:
        step = waiting.popleft()
        options, kwargs = step.get("options") or {}, step.get("kwargs") or {}
        task_id = options.get("task_id")
        context = Context({**options, "id": task_id, "group": options.get("group_id")})
        if task_id:
            fail_step(backend, task_id, step["task"], error)
        if isinstance(options.get("chord"), Mapping):
            count_part(backend, context, states.FAILURE, error, by_name=by_name)
        if step.get("subtask_type") == "chord" and kwargs.get("body"):
            waiting.append(kwargs["body"])
        elif step.get("subtask_type") == "group":
            waiting.extend(kwargs.get("tasks") or ())


def fail_step(backend: Any, task_id: str, task: str, error: Exception) -> None:
    """Store a failure for a step that is never sent. Raises redis-py's errors."""
    backend.store_result(task_id, error, states.FAILURE)
    if is_foreign(task):
        plain_app().backend.store_result(task_id, error, states.FAILURE)


def call_errbacks(backend: Any, request: Any, error: Exception) -> None:
    """Call a failed job's errbacks, under ids that a repetition has, too. Raises PASSING."""
    for number, errback in enumerate(request.errbacks or ()):
        made_up = str(uuid5(NAMESPACE_OID, f"{request.id} {number}"))
        errback.setdefault("options", {}).setdefault("task_id", made_up)
    if request.errbacks:
        backend._call_task_errbacks(request, error, None)
