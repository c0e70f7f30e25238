"""Measures what it costs that the service chooses the model.

`python -m benchmarks.bench_routing [decision] [auto] [--short]` prints the numbers and keeps the
raw data in benchmarks/results/. The exit code is 1 when a target is missed.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("decision", "auto")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_routing", __doc__, PARTS, "benchmarks.routing")


if __name__ == "__main__":
    run(main)
