"""Chores in batches: a chore goes on until nothing is due, but no longer than its turn."""

from __future__ import annotations

import time
from collections.abc import Callable

#: The longest turn of one chore. Leases are renewed between two of them.
TURN_SECONDS = 0.3


def turn(batch: Callable[[], bool]) -> None:
    """Call `batch` until it says that nothing more is due, for TURN_SECONDS at most."""
    end = time.monotonic() + TURN_SECONDS
    while batch() and time.monotonic() < end:
        pass
