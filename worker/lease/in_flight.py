"""What this worker process holds: one entry per message between taking it and its end.

Shared by the transport (which takes), the slots (which work), and the keeper (which renews leases
and passes on who must stop). Everything here is in memory; Redis is the truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from local_llm_service.worker.celery_ext.answers import Work
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.store.jobs import Taken


class Interrupted(ServiceError):
    """The work stops without a result: the message goes back, here or to another worker."""

    code = "interrupted"


class Held:
    """One message in this worker's hands, and the way to stop the work on it."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self._lock = threading.Lock()
        self._reason: ServiceError | None = None
        self._stop: Callable[[], None] | None = None
        #: What was done for it so far; goes into its result and the statistics.
        self.work = Work()
        self._deadline = time.monotonic() + taken.left_seconds
        #: How long somebody still waits when its own time is over, seconds. May ask Redis.
        self.wanted_seconds: Callable[[], float] = lambda: 0.0

    @property
    def reason(self) -> ServiceError | None:
        """Why the work must stop, if somebody has said so."""
        return self._reason

    @property
    def is_overdue(self) -> bool:
        """Whether its own deadline has passed."""
        return time.monotonic() > self._deadline

    def request_stop(self, reason: ServiceError) -> None:
        """Stop the work with `reason`; the first one counts. Returns at once."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            stop = self._stop
        if stop is not None:
            stop()

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` when a stop is requested, at once if it was already; None: no more."""
        with self._lock:
            self._stop = stop
            late = self._reason is not None
        if late and stop is not None:
            stop()


class Holdings:
    """All messages that this process holds, by fence token.

    Not by task id: a worker that was cut off can be given a job again that it still works on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        #: Put back as soon as Redis can be reached: (task id, token).
        self._to_release: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, taken: Taken) -> Held:
        """A message was taken."""
        held = Held(taken)
        again = self.of_job(taken.task_id)
        with self._lock:
            self._held[taken.token] = held
        for older in again:
            older.request_stop(Interrupted("the lease ran out and the job was taken again"))
        return held

    def get(self, token: str | None) -> Held | None:
        """What is held under a token."""
        return self._held.get(token or "")

    def of_job(self, task_id: str) -> list[Held]:
        """All that is held for one job."""
        with self._lock:
            return [held for held in self._held.values() if held.taken.task_id == task_id]

    def end(self, token: str) -> None:
        """The message is in other hands or has its result."""
        with self._lock:
            self._held.pop(token, None)

    def all(self) -> list[Held]:
        """A copy of all entries."""
        with self._lock:
            return list(self._held.values())

    def has_suspect(self) -> bool:
        """Whether one of them is a job that a worker died with before."""
        with self._lock:
            return any(held.taken.crashes for held in self._held.values())

    def release_later(self, task_id: str, token: str) -> None:
        """Redis cannot be reached now: remember to put this one back."""
        with self._lock:
            self._to_release.append((task_id, token))

    def due_releases(self) -> list[tuple[str, str]]:
        """What to put back now; the list is empty afterwards."""
        with self._lock:
            due, self._to_release = self._to_release, []
        return due


#: Of this process. A producer has one too, and it stays empty.
HOLDINGS = Holdings()
