"""Measures what a backend pays for `from tasks import summarize`, and for an unreachable Redis.

Prints medians and the ratio to what the backend would import anyway, and keeps the raw numbers.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 15
RAW = Path(__file__).parent / "results" / "bench_import.json"

BASE = "from celery import Celery, Task; import redis, pydantic"
OURS = "from local_llm_service import summarize"
DELAY = """
from local_llm_service import generate
from local_llm_service.worker.errors import BrokerUnreachable as E"""
TIMED = "import time; t = time.perf_counter(); {0}; print(time.perf_counter() - t)"
REFUSED = f"""
import time
{DELAY}
t = time.perf_counter()
try:
    generate.delay("hi")
except E:
    print(time.perf_counter() - t)
"""


def main() -> None:
    """Run both, interleaved where they are compared; print the results and keep the raw record."""
    imports: dict[str, list[float]] = {"base": [], "ours": []}
    for _ in range(ROUNDS):
        imports["base"].append(run(TIMED.format(BASE)))
        imports["ours"].append(run(TIMED.format(OURS)))
    away = {"refused": [run(REFUSED, port=1) for _ in range(5)]}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        away["silent"] = [run(REFUSED, port=silent.getsockname()[1]) for _ in range(5)]
    base, ours = (statistics.median(imports[name]) for name in ("base", "ours"))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"import, median of {ROUNDS}:  {BASE:60} {base:.3f} s")
    print(f"                      {OURS:60} {ours:.3f} s   ratio {ours / base:.2f}")
    for kind, seconds in away.items():
        print(
            f".delay() with Redis {kind}: {min(seconds):.2f} to {max(seconds):.2f} s to the error"
        )
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps({"imports": imports, "away": away}, indent=1) + "\n")


def run(code: str, port: int = 0) -> float:
    """Run `code`, which prints seconds, in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    if port:
        environment["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
