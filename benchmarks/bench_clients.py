"""Measures what waiting and reading cost a process that has a thousand jobs at once.

`python -m benchmarks.bench_clients [awaits] [streams] [--short]` prints threads, connections and
wake-ups of one asynchronous client, and keeps the raw data in benchmarks/results/. The exit code is
1 when a target is missed.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("awaits", "streams")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_clients", __doc__, PARTS, "benchmarks.clients")


if __name__ == "__main__":
    run(main)
