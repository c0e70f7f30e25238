"""Measures what the steps of jobs cost a job that has only one.

`python -m benchmarks.bench_steps [one_step] [--short]` prints the numbers and keeps the raw data in
benchmarks/results/. It needs Git, for the version before there were steps. The exit code is 1 when
a target is missed.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("one_step",)


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_steps", __doc__, PARTS, "benchmarks.steps")


if __name__ == "__main__":
    run(main)
