"""Work that a slot does outside the engine obeys its job's deadline and cancel, too.

What may take long runs in a process of its own, which is killed when the job has to stop: a thread
of Python cannot be ended from outside. lease/overdue.py is the barrier behind this one.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Protocol

from local_llm_service.worker.errors import DeadlineExceeded, ServiceError


class Bounds(Protocol):
    """What bounds a job's work: an in-flight delivery (lease/in_flight.py)."""

    @property
    def reason(self) -> ServiceError | None:
        """Why the work must stop; None while nobody has requested it."""

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` when a stop is requested; None: call nothing."""

    def wanted_for(self) -> float:
        """Seconds for which somebody wants the answer."""


_bounds: ContextVar[Bounds | None] = ContextVar("bounds", default=None)


@contextlib.contextmanager
def bounded_by(bounds: Bounds) -> Iterator[None]:
    """Let `bounds` end the programs that this thread runs within the block."""
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)


def run_bounded(command: Sequence[str], text: str) -> tuple[int, str]:
    """Run a program on `text`; returns its exit code, negative for a signal, and its output.

    The job's cancel and deadline kill it. Raises their reasons, DeadlineExceeded for the latter.
    """
    bounds = _bounds.get()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it could quote what people wrote
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the worker, which then decides
    ) as child:
        try:
            if bounds is not None:
                bounds.on_stop(child.kill)
            output = _talk(child, text, bounds)
        finally:
            if bounds is not None:
                bounds.on_stop(None)
            child.kill()
    if bounds is not None and bounds.reason is not None:
        raise bounds.reason
    return child.returncode, output


def _talk(child: subprocess.Popen[str], text: str, bounds: Bounds | None) -> str:
    given: str | None = text
    while True:
        try:
            return child.communicate(given, timeout=None if bounds is None else _seconds(bounds))[0]
        except subprocess.TimeoutExpired:
            given = None  # what is left of it is sent all the same


def _seconds(bounds: Bounds) -> float:
    if bounds.reason is not None:
        raise bounds.reason
    seconds = bounds.wanted_for()
    if seconds <= 0:
        raise DeadlineExceeded("the deadline passed while the job was running")
    return min(seconds, 3600.0)
