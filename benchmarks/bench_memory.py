"""Measures what jobs take in Redis, and how long a large group of waiters keeps Redis busy.

`python -m benchmarks.bench_memory [CHECKOUT]` also measures another checkout of this repository, an
older one, for comparison. Each measurement has a Redis and a process of its own. The raw record is
kept in benchmarks/results/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.command import run
from benchmarks.dedupe.numbers import machine
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

HERE = Path(__file__).parents[1]
MEASURE = Path(__file__).parent / "memory" / "measure.py"
RAW = Path(__file__).parent / "results" / "bench_memory.json"
GROUPS = (10_000, 40_000)


def main() -> int:
    """Measure, print, keep the raw record."""
    sides = {"this": HERE}
    if sys.argv[1:]:
        sides["other"] = Path(sys.argv[1])
    kept: dict[str, Any] = {"machine": machine(), "sides": {}}
    print(kept["machine"])
    for name, checkout in sides.items():
        kept["sides"][name] = side = {"format": measure(checkout, "format")}
        print(f"\n{name} checkout, one job of 400,000 characters")
        for text, found in side["format"].items():
            print(
                f"  {text}: {found['used_bytes'] / 1e6:.2f} MB in Redis, message "
                f"{found['message_bytes'] / 1e6:.2f} MB, .delay() {found['call_seconds']:.3f} s, "
                f"take in Redis {found['take_in_redis_seconds'] * 1000:.1f} ms"
            )
        for waiters in GROUPS:
            side[str(waiters)] = found = measure(checkout, "waiters", str(waiters))
            print(
                f"  {waiters:,} waiters settled in {found['settle_seconds']:.2f} s; longest ping "
                f"{found['longest_ping_seconds'] * 1000:.0f} ms, p99 "
                f"{found['p99_ping_seconds'] * 1000:.1f} ms",
                flush=True,
            )
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def measure(checkout: Path, *words: str) -> Any:
    """Run one measurement on the package of a checkout, beside an empty Redis."""
    with RedisProcess() as server:
        done = subprocess.run(
            [sys.executable, str(MEASURE), *words],
            env={**os.environ, "PYTHONPATH": str(checkout / "src"), "REDIS_URL": server.url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


if __name__ == "__main__":
    run(main)
