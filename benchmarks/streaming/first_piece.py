"""From "the engine sends its first token" to "a reader in another process has it".

In between are the worker, which reads the engine's stream and writes the text into Redis, and the
reader's subscription. All processes share one machine and its clock.
"""

from __future__ import annotations

from typing import Any

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.dedupe.numbers import row
from benchmarks.streaming.site import SLOTS, Site, site

MOST_SECONDS = 0.060
#: Tokens of each answer, and the seconds between two: 100 tokens a second in each slot.
TOKENS, PAUSE_SECONDS = 40, 0.010


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """One stream at a time, and as many as there are slots; return the bounds and raw numbers."""
    jobs = 40 if short else 200
    measures, raw = [], {}
    with site() as running:
        running.engine.call("pace", tokens=TOKENS, pause_seconds=PAUSE_SECONDS)
        late_by(running, SLOTS, SLOTS)  # the first calls of each process
        for together in (1, SLOTS):
            late = late_by(running, jobs, together)
            print(row(f"{together} at a time", late))
            p95 = percentile(late, 95) * 1000
            limit = MOST_SECONDS * 1000
            measures.append(Measure(f"first piece p95, {together} at a time", p95, limit, "ms"))
            raw[f"{together} at a time, seconds"] = late
    return measures, raw


def late_by(running: Site, jobs: int, together: int) -> list[float]:
    """Seconds for each first piece."""
    read_at = running.caller.call("read_first", jobs=jobs, together=together)
    sent_at = running.engine.call("first_at")
    return [read_at[prompt] - sent_at[prompt] for prompt in read_at]
