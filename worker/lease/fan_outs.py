"""Finishes fan-outs whose settler died, or lost Redis, before all waiters had their answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from local_llm_service.worker import errors
from local_llm_service.worker.store.store import Store

#: A settler goes on at once; after so long nobody does.
IDLE_SECONDS = 1.0
#: Leases must be renewed in between.
LONGEST_SECONDS = 0.2

Tell = Callable[[Sequence[str], Exception | None], None]


def finish_fan_outs(store: Store, tell: Tell, idle_seconds: float = IDLE_SECONDS) -> None:
    """Answer waiters of open fan-outs for a moment, and `tell` Flower of the followers.

    The rest comes with the next call. Raises redis-py's errors.
    """
    end = time.monotonic() + LONGEST_SECONDS
    for fan_out in store.jobs.open_fan_outs(idle_seconds):
        left = 1
        while left and time.monotonic() < end:
            left, code, followers = store.jobs.answer_waiters(fan_out)
            tell(followers, _error(code) if code else None)


def _error(code: str) -> Exception:
    """The failure of the job that the followers had waited for, as far as Flower shows it."""
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    of_code = (one for one in classes if getattr(one, "code", "") == code)
    found: type[Exception] = next(of_code, errors.InternalError)
    return found("an identical job failed")
