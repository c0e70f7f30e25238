"""A cached answer by `POST /generate` beside the same by the Python client, in turn.

One caller asks one thing after another; each side is warm. The difference of the medians is what
HTTP adds: the connection, parsing, the checks, and a process in between.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import row
from benchmarks.http.site import Caller, site

MOST_ADDED_SECONDS = 0.003
#: Calls of one side before it is the other's turn.
CHUNK = 25
PROMPTS = [f"What is Python? Part {number}." for number in range(20)]


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run them in turn; return the bound and the raw seconds."""
    rounds = 8 if short else 80
    with site() as running, Child("benchmarks.http.asker", running.environment) as asker:
        running.engine.call("pace", tokens=20, pause_seconds=0.0)
        caller = Caller(running.http.port)
        by_http(caller, 2 * len(PROMPTS))
        asker.call("hits", prompts=PROMPTS, count=2 * len(PROMPTS))
        raw: dict[str, list[float]] = {"http": [], "client": []}
        for _ in range(rounds):
            raw["http"] += by_http(caller, CHUNK)
            raw["client"] += asker.call("hits", prompts=PROMPTS, count=CHUNK)
        caller.close()
    return judge(raw), raw


def by_http(caller: Caller, count: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for number in range(count):
        began = time.perf_counter()
        body = {"prompt": PROMPTS[number % len(PROMPTS)], "temperature": 0}
        answer = caller.post("/generate", body)
        found.append(time.perf_counter() - began)
        assert answer["text"]
    return found


def judge(raw: dict[str, list[float]]) -> list[Measure]:
    """What HTTP adds at the median."""
    print(row("POST /generate", raw["http"]))
    print(row("AsyncClient.generate and result", raw["client"]))
    added = percentile(raw["http"], 50) - percentile(raw["client"], 50)
    return [Measure("HTTP adds, p50", added * 1000, MOST_ADDED_SECONDS * 1000, "ms")]
