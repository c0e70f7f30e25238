"""Measures what a repeated question costs, and what the cache costs when nothing repeats.

`python -m benchmarks.bench_dedupe [hit] [single_flight] [repeats] [--short]` prints the numbers
beside those of bare Redis and plain Celery, and keeps the raw data in benchmarks/results/. The exit
code is 1 when a target is missed.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("hit", "single_flight", "repeats")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_dedupe", __doc__, PARTS, "benchmarks.dedupe")


if __name__ == "__main__":
    run(main)
