"""What a caller sleeps on until its listener wakes it: in a thread. For event loops see
loop_listener.py, which few processes import."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import Protocol


class WakeableSleeper(Protocol):
    """A sleeper (store/calls.py) with its bell."""

    def sleep(self, seconds: float) -> Awaitable[None] | None:
        """Return when it is rung, or after `seconds`; awaitable in an event loop."""

    def wake(self) -> None:
        """End the sleep, or the next one."""

    def clear(self) -> None:
        """Forget what was rung before."""


class ThreadSleeper:
    """A thread's sleep. Any thread may ring."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def wake(self) -> None:
        """End the sleep, or the next one."""
        self._rung.set()

    def clear(self) -> None:
        """Forget what was rung before."""
        self._rung.clear()

    def sleep(self, seconds: float) -> None:
        """Return when it is rung, or after `seconds`."""
        self._rung.wait(seconds)
