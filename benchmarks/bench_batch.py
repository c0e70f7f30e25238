"""`python -m benchmarks.bench_batch [memory] [interactive] [--short]`: `local-llm batch`, measured.

memory: 100,000 lines on an engine that answers at once: the batch process and Redis must not grow.
interactive: high jobs beside a batch that fills four slots. Exits with 1 when a bound is broken.
The raw record is kept in benchmarks/results/.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.batch import interactive, memory
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.report import Outcome, print_table
from benchmarks.command import parse, run
from benchmarks.dedupe.numbers import machine

RAW = Path(__file__).parent / "results" / "bench_batch.json"
PARTS = ("memory", "interactive")


def main() -> int:
    """Measure, print, keep the raw record."""
    given = parse("benchmarks.bench_batch", __doc__, PARTS, "2,000 lines, 30 interactive jobs")
    kept: dict[str, Any] = json.loads(RAW.read_text()) if RAW.exists() else {}
    outcomes = []
    for part in given.parts:
        print(f"{part} ...", flush=True)
        began = time.monotonic()
        measures, raw = _measure(part, short=given.short)
        outcome = Outcome(part, measures, time.monotonic() - began)
        outcomes.append(outcome)
        kept[part] = {
            "machine": machine(),
            "nice": os.nice(0),
            "short": given.short,
            "measures": [vars(one) | {"kept": one.kept} for one in measures],
            **raw,
        }
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps(kept) + "\n")
    print_table(outcomes)
    return 0 if all(one.kept for one in outcomes) else 1


def _measure(part: str, *, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    if part == "memory":
        return memory.measure(2_000 if short else 100_000)
    return interactive.measure(30 if short else 300)


if __name__ == "__main__":
    run(main)
