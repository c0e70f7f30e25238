"""In-flight deliveries: the messages that one worker holds, each from its take to its end.

The transport (which takes messages), the slots (which work) and the lease heartbeat (which renews
leases and stops jobs) share them. They are in memory only; Redis is the truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.store.outcomes import Delivery, Work
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.savings import RunTokens


class Interrupted(ServiceError):
    """The work stops without a result, and the message goes back for this or another worker."""

    code = "interrupted"


class Yielded(Interrupted):
    """The job makes room for a more urgent one, between two of its steps, and comes next in its
    queue."""


@dataclass(frozen=True, slots=True)
class Release:
    """How a message goes back: `options` are the keyword arguments of Jobs.release."""

    task_id: str
    token: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Writing:
    """Counts the pieces of text that an engine has sent for one job; Ollama sends one for each
    token. The engine's thread counts, any thread reads."""

    def __init__(self) -> None:
        self.pieces, self._began_at = 0, 0.0

    def note_piece(self) -> None:
        """One more piece has come."""
        if self.pieces == 0:
            self._began_at = time.monotonic()
        self.pieces += 1

    @property
    def pieces_per_second(self) -> float | None:
        """Since the first one; None before the second."""
        if self.pieces < 2:
            return None
        return (self.pieces - 1) / max(time.monotonic() - self._began_at, 1e-3)


class InFlightDelivery:
    """One message that this worker holds, and the way to stop the work on it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        #: The work done for the job, set by tasks/run.py for its result and the statistics.
        self.work = Work()
        #: Kind of the job, and full name of the model that the engine was asked for; empty before
        #: that.
        self.kind = self.model = ""
        #: The text that the engine has written so far, as a count.
        self.writing = Writing()
        #: What engines have read and written for it; for whom, and the name of the route that it
        #: asks for.
        self.run_tokens = RunTokens()
        self.tenant: str | None = None
        self.route = ""
        #: How far its kind says that the job is; None while it has said nothing.
        self.progress: Progress | None = None
        #: Seconds that somebody still waits when the job's own time is over. May ask Redis.
        self.wanted_seconds: Callable[[], float] = lambda: 0.0
        self._taken_at = time.monotonic()
        self._deadline = self._taken_at + delivery.remaining_seconds
        self._lock = threading.Lock()
        self._reason: ServiceError | None = None
        self._stop: Callable[[], None] | None = None
        self._text_wanted = False
        self._want_text: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<in-flight delivery of {self.delivery.task_id}>"

    @property
    def running_seconds(self) -> float:
        """Since its take."""
        return time.monotonic() - self._taken_at

    def __json__(self) -> str:
        """What Celery writes should it ever send the headers of this request on."""
        return repr(self)

    @property
    def reason(self) -> ServiceError | None:
        """Why the work must stop; None while nobody has requested it."""
        return self._reason

    @property
    def is_overdue(self) -> bool:
        """Whether the job's own deadline has passed."""
        return time.monotonic() > self._deadline

    def set_deadline(self, remaining_seconds: float) -> None:
        """Take this for the time to the job's deadline, before the work on it begins."""
        self.delivery = replace(self.delivery, remaining_seconds=remaining_seconds)
        self._deadline = time.monotonic() + remaining_seconds

    def wanted_for(self) -> float:
        """Seconds for which somebody wants the answer: the caller, then the others. May ask Redis.

        Zero or less: nobody does any more.
        """
        own = self._deadline - time.monotonic()
        return own if own > 0 else self.wanted_seconds()

    @property
    def work_so_far(self) -> Work:
        """What was done for the job, for the savings ledger, where it has no outcome yet."""
        return self.entered(Work())

    def entered(self, work: Work) -> Work:
        """This work with what the savings ledger has to know of its run."""
        return replace(work, route=self.route, tenant=self.tenant, run_tokens=self.run_tokens)

    def request_stop(self, reason: ServiceError) -> None:
        """Stop the work with `reason`; only the first reason counts. Returns at once."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            stop = self._stop
        if stop is not None:
            stop()

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` when a stop is requested, at once if one was already; None: call nothing."""
        with self._lock:
            self._stop = stop
            late = self._reason is not None
        if late and stop is not None:
            stop()

    def want_text(self) -> None:
        """Tell the work that somebody wants to read its text meanwhile; returns at once."""
        with self._lock:
            self._text_wanted, want = True, self._want_text
        if want is not None:
            want()

    def on_text_wanted(self, want: Callable[[], None]) -> None:
        """Call `want`, which must return at once, whenever somebody wants the text; now, too, if
        somebody did already."""
        with self._lock:
            self._want_text, late = want, self._text_wanted
        if late:
            want()


class InFlightDeliveries:
    """All messages that one worker holds, by fencing token.

    Not by task id: a worker that was cut off can take a job again while it still works on it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_token: dict[str, InFlightDelivery] = {}
        #: Messages to put back as soon as Redis can be reached.
        self._to_release: list[Release] = []
        #: Called with each delivery that has ended.
        self.ended: Callable[[InFlightDelivery], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._by_token)

    def add(self, delivery: Delivery) -> InFlightDelivery:
        """Add a message that was taken, and stop any earlier delivery of the same job."""
        in_flight = InFlightDelivery(delivery)
        earlier = self.of_job(delivery.task_id)
        with self._lock:
            self._by_token[delivery.token] = in_flight
        for one in earlier:
            one.request_stop(Interrupted("the lease ran out and the job was taken again"))
        return in_flight

    def get(self, token: str | None) -> InFlightDelivery | None:
        """The in-flight delivery under a token; None if there is none."""
        return self._by_token.get(token or "")

    def of_job(self, task_id: str) -> list[InFlightDelivery]:
        """All in-flight deliveries of one job."""
        with self._lock:
            return [one for one in self._by_token.values() if one.delivery.task_id == task_id]

    def end(self, token: str) -> None:
        """Remove a delivery whose message has its result or is no longer this worker's."""
        with self._lock:
            ended = self._by_token.pop(token, None)
        if ended is not None:
            self.ended(ended)

    def all(self) -> list[InFlightDelivery]:
        """All in-flight deliveries, as a copy."""
        with self._lock:
            return list(self._by_token.values())

    def has_quarantined(self) -> bool:
        """Whether one of the jobs is a suspect: a worker or an engine has died while it ran."""
        with self._lock:
            return any(one.delivery.is_suspect for one in self._by_token.values())

    def release_later(self, release: Release) -> None:
        """Remember to put this message back when Redis can be reached again."""
        with self._lock:
            self._to_release.append(release)

    def due_releases(self) -> list[Release]:
        """Remove and return the messages to put back now."""
        with self._lock:
            due, self._to_release = self._to_release, []
        return due
