"""What writing the text costs a worker: jobs of 200 tokens with `stream=True` and without, in turn.

One worker with all slots busy, and nobody reads. "Paced" is an engine of 200 tokens a second in
each slot, faster than most models on most hardware; "at full speed" one that needs no time at all,
so that the ratio shows the cost beside our own work alone.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.numbers import median_interval
from benchmarks.streaming.site import SLOTS, Site, site

TOKENS = 200
MOST_RATIO, MOST_PERCENT = 1.05, 5.0
#: Name → seconds between two tokens, jobs of one batch, pairs of batches.
SPEEDS = {"paced": (0.005, 3 * SLOTS, 12), "at full speed": (0.0, 15 * SLOTS, 20)}


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run pairs at both speeds; return the bounds and the raw numbers."""
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    with site() as running:
        for speed, (pause_seconds, jobs, pairs) in SPEEDS.items():
            running.engine.call("pace", tokens=TOKENS, pause_seconds=pause_seconds)
            for stream in (True, False):
                one_batch(running, jobs, stream)  # the first calls of each process
            found = [one_pair(running, jobs, turn) for turn in range(3 if short else pairs)]
            raw[speed] = found
            measures += judge(speed, found, MOST_RATIO if pause_seconds else None)
    return measures, raw


def one_pair(running: Site, jobs: int, turn: int) -> dict[str, Any]:
    """The same jobs with and without; the side that begins alternates."""
    order = (True, False) if turn % 2 == 0 else (False, True)
    pair = {"with" if stream else "without": one_batch(running, jobs, stream) for stream in order}
    pair["ratio"] = {
        what: round(pair["with"][what] / pair["without"][what], 4)
        for what in ("wall_seconds", "cpu_seconds_per_job")
    }
    print(f"  pair {turn + 1}: {pair['ratio']}", flush=True)
    return pair


def one_batch(running: Site, jobs: int, stream: bool) -> dict[str, float]:
    """Wall time of a batch, and the worker's CPU time for each of its jobs."""
    before = cpu_seconds(running.worker.pid)
    wall = running.caller.call("batch", jobs=jobs, stream=stream)
    running.engine.call("first_at")  # forget what it has seen
    spent = cpu_seconds(running.worker.pid) - before
    job_seconds = wall / jobs * SLOTS  # all slots are busy
    return {"wall_seconds": wall, "job_seconds": job_seconds, "cpu_seconds_per_job": spent / jobs}


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, to the nanosecond (schedstat of proc)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def judge(speed: str, pairs: list[dict[str, Any]], limit: float | None) -> list[Measure]:
    """The median ratio of the pairs with its interval; the bound is on its upper end."""
    wall = median_interval([one["ratio"]["wall_seconds"] for one in pairs])
    plain = statistics.median(one["without"]["cpu_seconds_per_job"] for one in pairs)
    extra = median_interval([
        one["with"]["cpu_seconds_per_job"] - one["without"]["cpu_seconds_per_job"] for one in pairs
    ])  # fmt: skip
    job = statistics.median(one["without"]["job_seconds"] for one in pairs)
    share = f"{extra.low / job:.2%} to {extra.high / job:.2%} ({extra.confidence:.0%})"
    return [
        Measure(
            f"with / without, wall time, {speed}",
            wall.median,
            note=f"{wall.low:.4f} to {wall.high:.4f} ({wall.confidence:.0%})",
        ),
        Measure(f"  upper end of that interval, {speed}", wall.high, limit),
        Measure(f"worker's CPU for a job without, {speed}", plain * 1000, unit="ms"),
        Measure(f"  more with, {speed}", extra.median * 1000, unit="ms"),
        Measure(
            f"  in percent of a job's time, {speed}",
            extra.median / job * 100,
            None if limit is None else MOST_PERCENT,
            "%",
            share,
        ),
    ]
