"""Measures what HTTP costs over the Python client and over the engine itself, and what it bears.

`python -m benchmarks.bench_http [hit] [rate] [streams] [first_token] [neighbours] [time_outs]
[--short]` prints the numbers and keeps the raw data in benchmarks/results/. The exit code is 1 when
a target is missed. The part `rate` needs `wrk` (`apt-get install wrk`), and is left out without it.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("hit", "rate", "streams", "first_token", "neighbours", "time_outs")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_http", __doc__, PARTS, "benchmarks.http")


if __name__ == "__main__":
    run(main)
