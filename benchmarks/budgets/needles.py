"""Needles at the head, in the middle and at the tail of inputs of 0.5 to 8 contexts.

The scripted engine refuses what does not fit and notes what it was given: a needle that no prompt
held was lost in silence, unless the job failed, or the answer has it: a part that is as short as
its note would be stands for itself, without a prompt.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.budgets.scripted import CONTEXT_TOKENS, TOKEN, Model, result_of
from benchmarks.budgets.texts import pages
from benchmarks.chaos.judge import Measure

SIZES = (0.5, 1.0, 2.0, 4.0, 8.0)
PLACES = {"head": 0.0, "middle": 0.5, "tail": 1.0}
REPEATS = 20


def run(*, short: bool = False) -> tuple[list[Measure], Any]:
    """The measures, and what became of each needle."""
    records = [
        _one(repeat, size, place)
        for repeat in range(2 if short else REPEATS)
        for size in SIZES
        for place in PLACES
    ]
    lost = sum(not one["given"] and "error" not in one for one in records)
    partly = sum(one.get("coverage", 1.0) != 1.0 for one in records)
    measures = [
        Measure("needles", len(records)),
        Measure("lost in silence", lost, 0),
        Measure("answers of a part of the input", partly, 0),
        Measure("typed errors", sum("error" in one for one in records)),
    ]
    return measures, records


def _one(repeat: int, size: float, place: str) -> dict[str, Any]:
    rng = random.Random(f"{repeat} {size} {place}")
    paragraphs = "\n\n".join(rng.sample(pages(), 40)).split("\n\n")
    hay: list[str] = []
    tokens = 0
    for paragraph in paragraphs * 9:
        if tokens >= size * CONTEXT_TOKENS:
            break
        hay.append(paragraph)
        tokens += len(TOKEN.findall(paragraph))
    needle = f"The number of the lighthouse is {rng.randint(10_000, 99_999)}."
    hay.insert(round(PLACES[place] * len(hay)), needle)
    ask = Model(f"{repeat} {size} {place}")
    found = result_of(ask, "\n\n".join(hay), 100)
    record = {"size": size, "place": place, "steps": ask.steps}
    record["given"] = any(needle in text for text in ask.read)
    if isinstance(found, dict):
        record["given"] = record["given"] or needle in found["summary"]
        return record | {"coverage": found["coverage"]}
    return record | {"error": getattr(found, "code", type(found).__name__)}
