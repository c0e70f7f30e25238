"""Celery's options of a call, checked in the caller's process before anything is in Redis.

What is wrong with them would come to light only when the message is made: after admission.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from celery.result import AsyncResult

from local_llm_service.tasks.kind import JobTask
from local_llm_service.worker.celery_ext.delay import delay_seconds
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.task_id import MOST_CHARACTERS, is_usable

#: Nesting of the `headers` option. Deeper ones end in a RecursionError in whoever reads them.
MAX_HEADER_DEPTH = 20


def check_task_id(task_id: object) -> None:
    """Raise InvalidRequest for an id that a log, a key or a terminal cannot show."""
    if task_id not in (None, "") and not is_usable(task_id):
        raise InvalidRequest(
            f"task_id: must be printable text of at most {MOST_CHARACTERS} characters",
            "Leave it out, and each job gets a new one.",
        )


def check_options(options: Mapping[str, Any], deadline_seconds: float) -> None:
    """Raise InvalidRequest, naming the option, for one that no message can be made with.

    Also for a start that is not before the deadline, which is `deadline_seconds` from now.
    """
    if not options:
        return
    if _start_seconds(options) >= deadline_seconds:
        raise InvalidRequest(
            f"{'eta' if options.get('countdown') is None else 'countdown'}: "
            f"the job would start at its deadline, {deadline_seconds:g} s from now, or later",
            "Raise deadline_seconds or expires, or start the job sooner.",
        )
    _check_message(options)
    for step in options.get("chain") or ():
        its_options = step.get("options") if isinstance(step, Mapping) else None
        if isinstance(its_options, Mapping):
            _start_seconds(its_options)
            _check_message(its_options)


def unsendable(error: BaseException) -> InvalidRequest:
    """The error for a call that no message can be made of. It holds no word of the call."""
    return InvalidRequest(
        f"the call cannot be sent ({type(error).__name__})",
        "Give Celery's options values that are JSON, and signatures that can be sent.",
    )


def fail_step(
    job: JobTask, task_id: str | None, options: Mapping[str, Any], error: InvalidRequest
) -> AsyncResult:
    """Store the failure of a next step that a worker cannot send, also for all that waits for it.

    Nobody is there to catch an exception, and the step before must not run again for it.
    """
    from celery.app.task import Context  # a producer needs none

    errbacks = options.get("link_error") or ()
    request = Context(
        id=task_id or str(uuid4()),
        chain=options.get("chain"),
        chord=options.get("chord"),
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        errbacks=[one for one in _as_list(errbacks) if _is_signature(one)],
    )
    job.backend.mark_as_failure(request.id, error, request=request)
    return job.AsyncResult(request.id)


def _start_seconds(options: Mapping[str, Any]) -> float:
    """Seconds until the job may start, by `countdown` or `eta`; 0 without either."""
    countdown, eta = options.get("countdown"), options.get("eta")
    if countdown is not None:
        is_number = isinstance(countdown, int | float) and not isinstance(countdown, bool)
        if not is_number or not math.isfinite(countdown):
            raise InvalidRequest("countdown: must be a number of seconds")
        return float(countdown)
    if eta is None:
        return 0.0
    if isinstance(eta, datetime):
        eta = eta.isoformat()
    elif not isinstance(eta, str):
        raise InvalidRequest("eta: must be a datetime")
    return delay_seconds({"eta": eta})


def _check_message(options: Mapping[str, Any]) -> None:
    for name in ("link", "link_error"):
        if not all(map(_is_signature, _as_list(options.get(name) or ()))):
            raise InvalidRequest(f"{name}: must be signatures", "Give task.s(...).")
    if (headers := options.get("headers")) is not None:
        _check_headers(headers)


def _as_list(linked: Any) -> Sequence[Any]:
    return linked if isinstance(linked, list | tuple) else [linked]


def _is_signature(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("task"), str)


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping) or not all(isinstance(name, str) for name in headers):
        raise InvalidRequest("headers: must be a dict with names as keys")
    if _depth(headers, MAX_HEADER_DEPTH) > MAX_HEADER_DEPTH:
        raise InvalidRequest(f"headers: at most {MAX_HEADER_DEPTH} levels deep")
    try:
        text = json.dumps(dict(headers), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidRequest("headers: must be JSON") from None
    if not _is_unicode(text):
        raise InvalidRequest("headers: hold half a character (a lone surrogate)")


def _depth(value: object, most: int) -> int:
    """The nesting of dicts and lists; just more than `most` for all that is deeper."""
    if not isinstance(value, Mapping | list | tuple):
        return 0
    if most == 0:
        return 1
    inner = value.values() if isinstance(value, Mapping) else value
    return 1 + max((_depth(one, most - 1) for one in inner), default=0)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
