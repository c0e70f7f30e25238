"""CPU time of a worker for an answer whose tokens come one by one, both kinds in turn."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.numbers import median_interval
from benchmarks.engines.servers import KINDS, PROMPT, Kind, Pieces, engine_of
from local_llm_service.worker.engine import Engine

TOKENS = 200
#: So long that each token is read by itself, as from a model.
PAUSE_SECONDS = 0.002
#: The first answers make the connection, and learn.
UNCOUNTED = 2


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Pairs of answers of 200 tokens, and of one; the kind that begins alternates."""
    pairs = 6 if short else 40
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    for tokens in (TOKENS, 1):
        spent = _spent(tokens, pairs)
        raw[f"{tokens} tokens, CPU and wall seconds"] = spent
        measures += _judged(tokens, spent)
    return measures, raw


def _judged(tokens: int, spent: dict[Kind, list[tuple[float, float]]]) -> list[Measure]:
    what = "an answer of one token" if tokens == 1 else f"an answer of {tokens} tokens"
    measures = []
    for kind in KINDS:
        for place, clock in enumerate(("CPU", "wall")):
            median = statistics.median(one[place] for one in spent[kind])
            measures.append(Measure(f"{kind}: {what}, {clock}", median * 1000, unit="ms"))
    first, second = (spent[kind] for kind in KINDS)
    ratio = median_interval([b[0] / a[0] for a, b in zip(first, second, strict=True)])
    note = f"{ratio.low:.2f} to {ratio.high:.2f} ({ratio.confidence:.0%})"
    measures.append(Measure(f"{KINDS[1]} / {KINDS[0]}, CPU", ratio.median, note=note))
    return measures


def _spent(tokens: int, pairs: int) -> dict[Kind, list[tuple[float, float]]]:
    spent: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    pieces = Pieces(tokens, PAUSE_SECONDS)
    with ExitStack() as both:
        engines = {kind: both.enter_context(engine_of(kind, pieces))[0] for kind in KINDS}
        for turn in range(UNCOUNTED + pairs):
            for kind in KINDS if turn % 2 else KINDS[::-1]:
                found = _one_answer(engines[kind])
                if turn >= UNCOUNTED:
                    spent[kind].append(found)
    return spent


def _one_answer(engine: Engine) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    engine.complete(PROMPT, model="m", remaining_seconds=60, on_text=lambda _: None)
    return time.process_time() - cpu, time.perf_counter() - wall
