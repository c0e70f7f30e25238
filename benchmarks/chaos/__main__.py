"""`python -m benchmarks.chaos [case ...] [--short]` exits with 1 when a bound is broken."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from types import FrameType

from local_llm_service.worker.embedded.processes.ports import free_port

#: Set before anything reads it: the Celery app of this process, the producer, keeps the first
#: REDIS_URL that it sees.
REDIS_PORT = free_port()
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"

CASES = ("kill", "redis", "ollama", "cancel", "real", "poison", "drain")


def main() -> int:
    """Run the cases one after the other and print one table."""
    from benchmarks.chaos import report
    from benchmarks.chaos.cases import run

    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--short", action="store_true", help="minutes instead of half an hour")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _interrupt)
    outcomes = []
    for case in given.cases or CASES:
        print(f"{case} ...", flush=True)
        began = time.monotonic()
        outcome = run(case, redis_port=REDIS_PORT, short=given.short)
        outcome.seconds = time.monotonic() - began
        print(f"{case}: {'kept' if outcome.kept else 'BROKEN'} in {outcome.seconds:.0f} s")
        outcomes.append(outcome)
        report.write_summary([outcome], short=given.short)
    report.print_table(outcomes)
    return 0 if all(one.kept for one in outcomes) else 1


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
