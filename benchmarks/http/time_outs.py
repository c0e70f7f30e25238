"""A hundred callers ask one question with a time-out of 0.5 s and try it twice more: 300 POSTs.

The official client sends no idempotency key, and the model takes longer than all three tries. Then
each asks once more with patience.
"""

from __future__ import annotations

from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.http.site import MODEL, site

CALLERS = 100
TIME_OUT_SECONDS = 0.5
#: 40 tokens, one each 0.15 s: 6 s for the answer.
TOKENS, PAUSE_SECONDS = 40, 0.15


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Ask; return the number of generations and what the callers saw."""
    callers = 10 if short else CALLERS
    with site() as running, Child("benchmarks.http.openai_caller", {}) as caller:
        running.engine.call("pace", tokens=TOKENS, pause_seconds=PAUSE_SECONDS)
        asked = {"url": f"{running.http.url}/v1", "model": MODEL, "callers": callers}
        hurried = caller.call("ask", **asked, seconds=TIME_OUT_SECONDS)
        patient = caller.call("ask", **asked, seconds=60.0)
        generations = running.engine.call("asked")
    measures = [
        Measure(f"generations for {3 * callers} POSTs", generations, 1),
        Measure("callers without an answer at last", callers - patient["texts"], 0),
        Measure("callers that timed out first", hurried["timed_out"]),
    ]
    return measures, {"callers": callers, "hurried": hurried, "patient": patient}
