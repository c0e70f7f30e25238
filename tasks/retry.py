"""Decides whether a failed job is tried again, when, and whether the failure counts as a try."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import OllamaBusy, ServiceError
from local_llm_service.worker.lease.in_flight import Interrupted, Yielded

#: The longest pause between two tries of a job.
MAX_PAUSE_SECONDS = 30.0
#: The pause of a job whose engine is away and that nothing else holds back.
AWAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Retry:
    """The message goes back to the head of its queue after `delay_seconds`.

    `counts`: the failure was one of the job's MAX_ATTEMPTS tries. `cause` labels the metric.
    """

    cause: Literal["interrupted", "yielded", "outage", "retry", "engine_died"]
    delay_seconds: float = 0.0
    counts: bool = False


def decide(
    error: ServiceError,
    *,
    attempts: int,
    max_attempts: int,
    base_seconds: float,
    is_away: Callable[[], bool],
    comes_back: Callable[[], bool] = lambda: False,
    turn: Callable[[float], float] = lambda least_seconds: least_seconds,
    wanted_for: Callable[[], float] = lambda: math.inf,
) -> Retry | None:
    """Decide on a retry after `error`, with `attempts` tries before this one; None: it is final.

    A shutdown, room made for a more urgent job, an outage of the engine (`is_away`, called only if
    it matters) or its death does not count as a try; tasks/engine_death.py has counted a death
    already. After an outage the job waits in its queue. Where it would be taken again at once all
    the same (`comes_back`: a route is served by either of its engines), it pauses for
    AWAY_SECONDS, or until its `turn` where many do. All other pauses double from `base_seconds` up
    to MAX_PAUSE_SECONDS, times 0.5 to 1.5; an engine that says when to ask again is not asked
    before, within the same bound, nor where nobody waits so long (`wanted_for`, seconds).
    """
    if isinstance(error, Yielded):
        return Retry("yielded")
    if isinstance(error, Interrupted):
        return Retry("interrupted")
    if isinstance(error, EngineDied):
        is_away()  # closes the gate if the engine is not back yet
        return Retry("engine_died")
    if not error.retryable:
        return None
    if is_away():
        jittered = AWAY_SECONDS * random.uniform(0.5, 1.5)
        return Retry("outage", turn(jittered) if comes_back() else 0.0)
    if attempts + 1 >= max_attempts:
        return None
    pause = min(base_seconds * 2**attempts, MAX_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
    wanted = _wanted_pause(error)
    if wanted and wanted > wanted_for():
        return None
    return Retry("retry", max(pause, wanted), counts=True)


def _wanted_pause(error: ServiceError) -> float:
    """Seconds for which a busy engine wants to be left alone, up to the longest pause; else 0."""
    if not isinstance(error, OllamaBusy) or error.retry_after_seconds is None:
        return 0.0
    # Not all at once: many jobs were told the same.
    return min(error.retry_after_seconds, MAX_PAUSE_SECONDS) * random.uniform(1.0, 1.2)
