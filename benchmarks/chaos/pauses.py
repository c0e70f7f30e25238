"""How long a thread of a process is kept from running: `python -m benchmarks.chaos.pauses FILE`.

A lease heartbeat is such a thread. As a program it measures a process that does nothing else: what
the machine itself keeps from running.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

STEP_SECONDS = 0.005
#: The longest pause of each such time is written down.
LINE_SECONDS = 0.5


def watch(file: Path) -> None:
    """Measure for ever.

    A line holds the time (monotonic), the longest pause before, and the longest in which this
    process was running: the part of a pause that its other threads caused, whatever else the
    machine did. Seconds.
    """
    longest = own = 0.0
    before, used = time.monotonic(), time.process_time()
    line_at = before
    with file.open("a", buffering=1) as lines:
        while True:
            time.sleep(STEP_SECONDS)
            now, using = time.monotonic(), time.process_time()
            pause = now - before - STEP_SECONDS
            longest, own = max(longest, pause), max(own, min(pause, using - used))
            if now - line_at >= LINE_SECONDS:
                lines.write(f"{now} {longest} {own}\n")
                longest = own = 0.0
                line_at = now
                now, using = time.monotonic(), time.process_time()  # writing is not a pause
            before, used = now, using


def watch_here(file: Path) -> None:
    """Measure in a thread of this process; returns at once."""
    threading.Thread(target=watch, args=(file,), daemon=True).start()


def read(file: Path) -> list[tuple[float, float, float]]:
    """(time, longest pause, longest own pause) of each whole line."""
    text = file.read_text() if file.exists() else ""
    lines = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [(float(at), float(pause), float(own)) for at, pause, own in lines]


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
