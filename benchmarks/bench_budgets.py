"""Checks that summaries keep their budgets and end on finished sentences, by a judge of its own.

`python -m benchmarks.bench_budgets [scripted] [needles] [embedded] [contexts] [--short]` prints
the numbers and keeps the raw data in benchmarks/results/. `embedded` takes hours and goes on where
it stopped.
The exit code is 1 when a budget is broken, a sentence is unfinished, or a part was not read.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("scripted", "needles", "embedded", "contexts")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_budgets", __doc__, PARTS, "benchmarks.budgets")


if __name__ == "__main__":
    run(main)
