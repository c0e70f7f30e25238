"""What the message of a job that another application sent by name says of the job.

Our own producers say it to Redis when they submit. Of a message that comes from elsewhere, its
start, its deadline and what waits for it are read here, by whoever first has it in hand: Redis
waits and keeps time, where a cancel and the reaper see it. Celery would do so in worker memory.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.delay import delay_seconds, seconds_until
from local_llm_service.worker.store.bounds import LONGEST_DEADLINE_SECONDS

if TYPE_CHECKING:
    from local_llm_service.worker.lease.in_flight import InFlightDelivery
    from local_llm_service.worker.runtime import WorkerRuntime

logger = logging.getLogger(__name__)

#: Nesting of a message's headers, and of what Celery calls after the job. Celery copies and prints
#: both, and a RecursionError anywhere there would end the worker.
MAX_DEPTH = 100
#: Members of a message body's third part that name what Celery calls after the job.
_CANVAS = ("callbacks", "errbacks", "chain", "chord")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a message wants. `deadline_seconds` is its argument of that name, `expires_seconds` the
    time to Celery's `expires`: 0 or less when it is too late. None where it says nothing. `canvas`:
    Celery calls something after the job."""

    delay_seconds: float
    deadline_seconds: float | None
    expires_seconds: float | None
    canvas: bool

    def deadline(self, default_seconds: float) -> float:
        """Seconds from now to the job's deadline."""
        own = default_seconds if self.deadline_seconds is None else self.deadline_seconds
        return own if self.expires_seconds is None else min(own, self.expires_seconds)


def wishes(message: Mapping[str, Any]) -> Wishes:
    """Read them. What cannot be read says nothing: the worker that runs the job refuses it."""
    kwargs, embed = _body(message)
    asked = kwargs.get("deadline_seconds")
    is_number = isinstance(asked, int | float) and not isinstance(asked, bool)
    if asked is None or not is_number or not 0 < asked <= LONGEST_DEADLINE_SECONDS:
        asked = None
    return Wishes(
        delay_seconds=delay_seconds(message["headers"]),
        deadline_seconds=asked,
        expires_seconds=seconds_until(message["headers"], "expires"),
        canvas=any(embed.get(word) for word in _CANVAS),
    )


def _body(message: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments, and what Celery calls afterwards."""
    try:
        _, kwargs, embed = plain_json.loads(plain_json.body_text(dict(message)))
        return dict(kwargs), dict(embed)
    except Exception:  # noqa: BLE001  # an edge: a body can hold anything
        return {}, {}


def take_times_out(headers: dict[str, Any]) -> None:
    """Remove the times that Redis keeps now: Celery would wait for one, and refuse by the other."""
    for name in ("eta", "expires"):
        if seconds_until(headers, name) is not None:
            headers[name] = None


def is_unfit(message: Mapping[str, Any]) -> bool:
    """Whether a message would be an error in Celery's own code, after the job or instead of it."""
    if _is_too_deep(message):
        return True
    if message["headers"].get("llm_submitted"):
        return False
    _, embed = _body(message)
    after = [one for word in _CANVAS[:3] for one in _listed(embed.get(word))]
    after += [embed["chord"]] if embed.get("chord") else []
    are_signatures = all(
        isinstance(one, dict) and isinstance(one.get("task"), str) for one in after
    )
    return not are_signatures or _is_too_deep(embed)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value] if value else []


def _is_too_deep(value: object, most: int = MAX_DEPTH) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_too_deep(one, most - 1) for one in inner)


def goes_on(runtime: WorkerRuntime, in_flight: InFlightDelivery, message: dict[str, Any]) -> bool:
    """Note what a message that this worker has just taken wants; False: it was deferred.

    Its own deadline runs from now on, or from when it was collected.
    """
    headers, delivery = message["headers"], in_flight.delivery
    if headers.get("llm_submitted"):
        return True
    wanted = wishes(message)
    _note(runtime, in_flight, wanted)
    if wanted.delay_seconds > 0 and not delivery.cancelled:
        runtime.release(delivery.task_id, delivery.token, delay_seconds=wanted.delay_seconds)
        return False
    take_times_out(headers)
    return True


def _note(runtime: WorkerRuntime, in_flight: InFlightDelivery, wanted: Wishes) -> None:
    has_deadline = wanted.deadline_seconds is not None or wanted.expires_seconds is not None
    if not has_deadline and not wanted.canvas:
        return
    delivery = in_flight.delivery
    try:
        remaining_seconds = runtime.store.jobs.note_wishes(
            delivery.task_id,
            delivery.token,
            deadline_seconds=wanted.deadline(runtime.settings.deadline_seconds),
            canvas=wanted.canvas,
        )
    except redis.RedisError as error:
        name = type(error).__name__
        logger.warning("job %s: its own deadline is not noted: %s", delivery.task_id, name)
        return
    if remaining_seconds is not None:
        in_flight.set_deadline(remaining_seconds)
