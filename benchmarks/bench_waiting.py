"""`python -m benchmarks.bench_waiting`: how soon a caller that waits has its answer.

The time from "the result is stored" to "`.get()` has returned", with 1 and with 50 threads that
wait in one process. Results are stored by the backend itself, one every few milliseconds, without
worker or engine. The raw numbers go to benchmarks/results/waiting.json.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import threading
import time
from pathlib import Path
from uuid import uuid4

from benchmarks.command import run
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

RESULTS = Path(__file__).parent / "results" / "waiting.json"
ROUNDS = 600
#: The callers' threads: each waits for one job after the other.
CALLERS = (1, 50)


def main() -> int:
    """See the module."""
    found = {}
    with RedisProcess() as redis:
        os.environ["REDIS_URL"] = redis.url
        for callers in CALLERS:
            times = sorted(wake_ups(callers))
            p50, p95 = (statistics.quantiles(times, n=100)[place - 1] for place in (50, 95))
            print(
                f"{callers:3} callers: p50 {p50:.2f} ms  p95 {p95:.2f} ms  most {times[-1]:.2f} ms"
            )
            found[f"{callers} callers"] = [round(one, 3) for one in times]
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": machine, "milliseconds": found}) + "\n")
    return 0


def wake_ups(callers: int) -> list[float]:
    """Milliseconds of each wait, from stored to returned."""
    from local_llm_service.worker.app import app

    stored_at: dict[str, float] = {}
    times: list[float] = []
    ids = [[uuid4().hex for _ in range(ROUNDS // callers)] for _ in range(callers)]

    def wait_for(own: list[str]) -> None:
        for task_id in own:
            app.AsyncResult(task_id).get(timeout=60)
            times.append((time.perf_counter() - stored_at[task_id]) * 1000)

    threads = [threading.Thread(target=wait_for, args=(own,)) for own in ids]
    for thread in threads:
        thread.start()
    time.sleep(1)
    for turn in zip(*ids, strict=True):
        for task_id in random.Random(turn[0]).sample(turn, len(turn)):
            answer = {"task_id": task_id, "origin": "computed", "timings": {}, "text": "a" * 500}
            stored_at[task_id] = time.perf_counter()
            app.backend._store_result(task_id, answer, "SUCCESS")
            time.sleep(0.004)
    for thread in threads:
        thread.join(60)
    return times


if __name__ == "__main__":
    run(main)
