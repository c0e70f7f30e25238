"""CPU time of the worker's process for an answer whose tokens come one by one."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.engines.servers import KINDS, PROMPT, Pieces, engine_of

TOKENS = 200
#: So long that each token is read by itself, as from a model.
PAUSE_SECONDS = 0.002


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Microseconds for each token, the median of several answers, and for one answer of 1 token."""
    answers = 5 if short else 30
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    for kind in KINDS:
        for tokens in (TOKENS, 1):
            spent = _spent(kind, Pieces(tokens, PAUSE_SECONDS), answers)
            raw[f"{kind}, {tokens}"] = spent
            median = statistics.median(spent)
            if tokens == 1:
                measures.append(Measure(f"{kind}: an answer of one token", median * 1e3, unit="ms"))
            else:
                each = median / tokens * 1e6
                measures.append(Measure(f"{kind}: each token", each, unit="us"))
    return measures, raw


def _spent(kind: Any, pieces: Pieces, answers: int) -> list[float]:
    spent = []
    with engine_of(kind, pieces) as (engine, _):
        for _ in range(answers + 2):
            before = time.process_time()
            engine.complete(PROMPT, model="m", remaining_seconds=60, on_text=lambda _: None)
            spent.append(time.process_time() - before)
    return spent[2:]  # the first make the connection, and learn
