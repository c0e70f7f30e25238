"""Measures how soon a reader has the first piece of a text, and what writing it costs a worker.

`python -m benchmarks.bench_stream [first_piece] [cost] [--short]` runs a real worker beside a
scripted Ollama and keeps the raw data in benchmarks/results/. The exit code is 1 when a target is
missed.
"""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.record import run_parts

PARTS = ("first_piece", "cost")


def main() -> int:
    """Run the requested parts, print their numbers and keep the raw record."""
    return run_parts("bench_stream", __doc__, PARTS, "benchmarks.streaming")


if __name__ == "__main__":
    run(main)
