"""Refuses Celery's `rate_limit`, with which a worker takes messages and holds them in memory.

There neither a cancel nor a deadline reaches them, and they fill the worker's slots.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.control import control_command, nok

logger = logging.getLogger(__name__)

_HINT = "lower CONCURRENCY, or send fewer jobs at a time"


@control_command(  # type: ignore[untyped-decorator]
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit>",
)
def rate_limit(state: Any, task_name: str, rate_limit: str, **_: Any) -> Any:
    """Refuse to limit the rate of a kind; the reply says what to do instead."""
    logger.warning("refused: a rate limit would hold jobs where no deadline reaches them")
    return nok(f"this service has no rate limits: {_HINT}")


def limited(app: Any) -> list[str]:
    """What is wrong where an app's settings or tasks ask for a rate limit."""
    kinds = [task for name, task in app.tasks.items() if name.startswith("llm.")]
    found = [f"no rate_limit for {kind.name}: {_HINT}" for kind in kinds if kind.rate_limit]
    if app.conf.task_default_rate_limit:
        found.append(f"no task_default_rate_limit: {_HINT}")
    return found
