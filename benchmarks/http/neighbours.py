"""What other callers feel of slow readers, idle connections and bodies of a gigabyte.

One caller asks for cached answers, one after the other; the nuisance is there in every second
window of time, so that both see the same machine.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import row
from benchmarks.http.site import Caller, site

IDLE, SLOW = 500, 20
WINDOW_SECONDS = 4.0
#: Between two calls: the caller is no load of its own.
PAUSE_SECONDS = 0.002
MOST_RATIO = 1.5
BODY = {"prompt": "What is Python?", "temperature": 0}


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Ask in turn with and without; return the bound and the raw seconds."""
    windows = 2 if short else 8
    raw: dict[str, list[float]] = {"alone": [], "beside": []}
    sent = {"refused": 0, "megabytes": 0.0, "bytes_read": 0}
    with site() as running, Child("benchmarks.http.nuisance", {}) as nuisance:
        running.engine.call("pace", tokens=2000, pause_seconds=0.0)
        long = Caller(running.http.port).post("/generate", {"prompt": "long", "max_tokens": 2000})
        running.engine.call("pace", tokens=20, pause_seconds=0.0)
        caller = Caller(running.http.port)
        window(caller, 1.0)
        begin = {"port": running.http.port, "task_id": long["task_id"], "idle": IDLE, "slow": SLOW}
        for _ in range(windows):
            raw["alone"] += window(caller, WINDOW_SECONDS)
            nuisance.call("begin", **begin)
            raw["beside"] += window(caller, WINDOW_SECONDS)
            for name, value in nuisance.call("end").items():
                sent[name] += value
        caller.close()
    print(row("alone", raw["alone"]))
    print(row("beside them", raw["beside"]))
    print(f"  {sent}")
    ratio = percentile(raw["beside"], 95) / percentile(raw["alone"], 95)
    return [
        Measure("p95 beside them to p95 alone", ratio, MOST_RATIO),
        Measure("bodies of 1 GB that were refused", sent["refused"]),
    ], {**raw, **sent}


def window(caller: Caller, seconds: float) -> list[float]:
    """Seconds of each call for so long."""
    found, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        caller.post("/generate", BODY)
        found.append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    return found
