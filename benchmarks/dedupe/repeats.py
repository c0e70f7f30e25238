"""Measures the wall time of many jobs, a share of them repeats, in pairs with plain Celery.

The time runs from the first `.delay()` to the last answer, in one producer process. Only one side
works at a time; both stay warm. At 0 % repeats the ratio shows what our queue path costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import median_interval, percentile, row
from benchmarks.dedupe.site import SIDES, Site

ENGINE_SECONDS = 0.1
SLOTS = 12
SHARES = (0.0, 0.3, 0.6, 0.9)
#: The largest cost of our queue path allowed at 0 % repeats, as a ratio to plain Celery.
MOST_RATIO = 1.03
LINES = (
    "Explain in two sentences why a queue helps a backend that must not wait for a slow service, "
    "and name one case in which it does not help."
)


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run all shares; return the bounds and the raw numbers."""
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    with Site() as site:
        site.engine.call("take", seconds=ENGINE_SECONDS)
        producers = {side: site.producer(side) for side in SIDES}
        raw["engine"] = check_engine(site, producers["plain"])
        for side in SIDES:
            one_run(site, side, producers[side], prompts(96, 0.0, seed=0))
        for share in SHARES:
            pairs = run_pairs(site, producers, share, short=short)
            raw[f"{share:.0%}"] = pairs
            measures += judge(share, pairs)
    return measures, raw


def check_engine(site: Site, producer: Child) -> dict[str, Any]:
    """Check that the engine keeps its time at the rate that 12 slots ask for."""
    began = time.monotonic()
    answers = producer.call("load_engine", slots=SLOTS, seconds=2.0)
    rate = len(answers) / (time.monotonic() - began)
    site.generations()
    print(row("engine alone, 12 askers, no Celery", answers) + f"  {rate:.0f}/s")
    return {"per_second": rate, "p99_seconds": percentile(answers, 99)}


def run_pairs(
    site: Site, producers: dict[str, Child], share: float, *, short: bool
) -> list[dict[str, Any]]:
    """Run pairs of the same jobs on both sides; the side that begins alternates."""
    jobs = 240 if short else 1000
    count = (3 if short else 9) if share == 0 else (1 if short else 3)
    found = []
    for number in range(count):
        texts = prompts(jobs, share, seed=number)
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        pair = {side: one_run(site, side, producers[side], texts) for side in order}
        pair["ratio"] = pair["ours"]["wall_seconds"] / pair["plain"]["wall_seconds"]
        found.append(pair)
        print(
            f"  {share:4.0%} pair {number + 1}: ours {pair['ours']['wall_seconds']:7.3f} s  "
            f"plain {pair['plain']['wall_seconds']:7.3f} s  ratio {pair['ratio']:.4f}",
            flush=True,
        )
    return found


def one_run(site: Site, side: str, producer: Child, texts: Sequence[str]) -> dict[str, Any]:
    """Run one batch on one side; return its wall time and its parts."""
    before = site.cpu_seconds(side, producer)
    done = producer.call("batch", prompts=list(texts))
    after = site.cpu_seconds(side, producer)
    generations = site.generations()
    if done["texts"] != len(texts):
        raise RuntimeError(f"{side}: {done['texts']} answers for {len(texts)} calls")
    return {
        "wall_seconds": done["ended"] - done["began"],
        "submit_seconds": done["submitted"] - done["began"],
        "origins": done["origins"],
        "generations": len(generations),
        "cpu_ms_per_job": {
            name: round((after[name] - before[name]) * 1000 / len(texts), 3) for name in after
        },
        **_slots(generations, done["began"], done["ended"]),
    }


def _slots(generations: Sequence[Any], began: float, ended: float) -> dict[str, float]:
    """Time before the engine's first request and after its last, and its work in between."""
    starts = [one[0] for one in generations]
    ends = [one[1] for one in generations]
    span = max(ends) - min(starts)
    busy = sum(end - start for start, end in zip(starts, ends, strict=True))
    return {
        "head_ms": round((min(starts) - began) * 1000, 1),
        "tail_ms": round((ended - max(ends)) * 1000, 1),
        "engine_ms_per_job": round(busy * 1000 / len(generations), 2),
        "idle_ms_per_job": round((span * SLOTS - busy) * 1000 / len(generations), 2),
    }


def prompts(jobs: int, share: float, seed: int) -> list[str]:
    """Make `jobs` texts, of which a `share` repeats others by Zipf's law (1/rank).

    The texts are new at each call, so that no run finds the answers of an earlier run.
    """
    chance = random.Random(seed)
    distinct = [f"{uuid4().hex} {LINES}" for _ in range(jobs - round(jobs * share))]
    ranks = [1 / rank for rank in range(1, len(distinct) + 1)]
    texts = distinct + chance.choices(distinct, ranks, k=jobs - len(distinct))
    chance.shuffle(texts)
    return texts


def judge(share: float, pairs: Sequence[dict[str, Any]]) -> list[Measure]:
    """Return the median of the ratios, with a bound at 0 % repeats only."""
    found = median_interval([pair["ratio"] for pair in pairs])
    note = (
        f"interval {found.low:.4f} to {found.high:.4f} ({found.confidence:.1%}, order statistics, "
        f"{len(pairs)} pairs)"
    )
    limit = MOST_RATIO if share == 0 else None
    _print_parts(pairs)
    return [Measure(f"{share:.0%} repeats: ours / plain", found.median, limit, note=note)]


def _print_parts(pairs: Sequence[dict[str, Any]]) -> None:
    words = ("submit_seconds", "head_ms", "tail_ms", "engine_ms_per_job", "idle_ms_per_job")
    for side in SIDES:
        runs = [pair[side] for pair in pairs]
        parts = [f"{word} {_mean([run[word] for run in runs]):.2f}" for word in words]
        cpu = [
            f"{name} {_mean([run['cpu_ms_per_job'][name] for run in runs]):.2f}"
            for name in runs[0]["cpu_ms_per_job"]
        ]
        print(f"    {side:5} {'  '.join(parts)}")
        print(f"          CPU ms per job: {'  '.join(cpu)}   generations {runs[0]['generations']}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
