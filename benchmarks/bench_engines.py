"""Measures what an engine costs a worker: CPU time for each token, and how soon a stop is heard.

`python -m benchmarks.bench_engines [cpu] [stop] [--short]` lets each kind of engine ask a scripted
server in a process of its own, and keeps the raw data in benchmarks/results/.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("cpu", "stop")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_engines", __doc__, PARTS, "benchmarks.engines")


if __name__ == "__main__":
    run(main)
