"""Tells Flower how jobs ended that ran in no slot: those that joined another.

Celery sends these events for what it has run itself; a job that has joined would stay "started".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_consumers: list[Any] = []


def send_through(consumer: Any) -> None:
    """From now on with the event dispatcher of this Celery consumer."""
    _consumers[:] = [consumer]


def tell_of_joined(task_ids: Iterable[str], error: Exception | None) -> None:
    """They have their result: an answer, or `error`. No word of either."""
    dispatcher = next((getattr(one, "event_dispatcher", None) for one in _consumers), None)
    if dispatcher is None or not dispatcher.enabled:
        return
    for task_id in task_ids:
        if error is None:
            dispatcher.send("task-succeeded", uuid=task_id, result="-", runtime=0.0)
        else:
            dispatcher.send("task-failed", uuid=task_id, exception=repr(error), traceback="")
