"""A bounded end: on SIGTERM a worker takes no more jobs, and a job that runs too long goes back."""

from __future__ import annotations

import threading

from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, Interrupted


def drain(gate: Gate, in_flight: InFlightDeliveries, drain_seconds: float) -> None:
    """Take no more jobs; a job that still runs after `drain_seconds` goes back to its queue.

    Returns at once.
    """

    def interrupt() -> None:
        for one in in_flight.all():
            one.request_stop(Interrupted("the worker is shutting down"))

    gate.close(Reason.DRAINING)
    timer = threading.Timer(drain_seconds, interrupt)
    timer.daemon = True
    timer.start()
