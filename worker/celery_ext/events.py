"""Tells Flower how followers ended: jobs that shared another job's result and ran in no slot.

Celery sends these events only for jobs that it ran itself; a follower would stay "started".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class FollowerEvents:
    """Sends events through the dispatcher of one Celery consumer."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def tell(self, task_ids: Sequence[str], error: Exception | None) -> None:
        """Say that these followers have an answer, or `error`, without a word of either."""
        dispatcher = getattr(self._consumer, "event_dispatcher", None)
        if dispatcher is None or not dispatcher.enabled:
            return
        for task_id in task_ids:
            if error is None:
                dispatcher.send("task-succeeded", uuid=task_id, result="-", runtime=0.0)
            else:
                dispatcher.send("task-failed", uuid=task_id, exception=repr(error), traceback="")
