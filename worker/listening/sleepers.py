"""What a caller sleeps on until its listener wakes it: in a thread. For event loops see
loop_listener.py, which few processes import."""

from __future__ import annotations

import threading


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
