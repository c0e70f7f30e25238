"""`python -m benchmarks.chaos [case ...] [--short]` exits with 1 when a bound is broken."""

from __future__ import annotations

import os
import time

from benchmarks.command import parse, run
from local_llm_service.worker.embedded.processes.ports import free_port

#: Set before anything reads it: the Celery app of this process, the producer, keeps the first
#: REDIS_URL that it sees.
REDIS_PORT = free_port()
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"

CASES = (
    *("kill", "redis", "ollama", "cancel", "real", "poison", "drain", "black_hole"),
    *("engine_death", "schemas", "chords", "waiting", "batch", "http_batch", "long_jobs"),
    *("spending", "savings"),
)


def main() -> int:
    """Run the cases one after the other and print one table."""
    from benchmarks.chaos import report
    from benchmarks.chaos.cases import run as run_case

    given = parse("benchmarks.chaos", __doc__, CASES, "minutes instead of half an hour")
    outcomes = []
    for case in given.parts:
        print(f"{case} ...", flush=True)
        began = time.monotonic()
        outcome = run_case(case, redis_port=REDIS_PORT, short=given.short)
        outcome.seconds = time.monotonic() - began
        print(f"{case}: {'kept' if outcome.kept else 'BROKEN'} in {outcome.seconds:.0f} s")
        outcomes.append(outcome)
        report.write_summary([outcome], short=given.short)
    report.print_table(outcomes)
    return 0 if all(one.kept for one in outcomes) else 1


if __name__ == "__main__":
    run(main)
