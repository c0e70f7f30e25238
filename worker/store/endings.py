"""Jobs that are to end without an answer: whose deadline has passed, or that somebody cancelled.

Most end by a failure that anybody can store. A job in a chain or chord needs a worker with its
message in hand, as only so Celery tells the rest of the canvas: such messages wait apart, where a
closed gate and a long queue do not hold them up.
"""

from __future__ import annotations

from collections.abc import Sequence

from local_llm_service.worker.store.scripts import Scripts

#: Until a job that is too late, and cannot be ended yet, is looked at again. Seconds.
LOOK_AGAIN_SECONDS = 3.0
#: One call of `sift` looks at this much: a few milliseconds of Redis's time.
SIFT_MESSAGES, SIFT_BYTES = 500, 4_000_000
#: Between two searches through all queues. Seconds.
SIFT_PAUSE_SECONDS = 3.0


class Endings:
    """The moves of such jobs. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def expired(self, most: int) -> tuple[int, list[str]]:
        """Look at up to `most` jobs without a result whose deadline has passed, the earliest first.

        Returns how many there were, and the ids of those to fail. A job that stays is not among
        them again for LOOK_AGAIN_SECONDS.
        """
        looked, to_fail = self._scripts.run("expired", [most, int(LOOK_AGAIN_SECONDS * 1000)])
        return int(looked), list(to_fail)

    def sift(self, queues: Sequence[str]) -> int:
        """Bring messages that a worker has only to end out of these queues, a few at each call.

        Returns how many messages were looked at, 0 when there is nothing to look for now.
        """
        pause_ms = int(SIFT_PAUSE_SECONDS * 1000)
        args = [SIFT_MESSAGES, SIFT_BYTES, pause_ms, *queues]
        return int(self._scripts.run("sift", args))
