"""Times a repeated question, beside bare Redis and beside a lookup inside a worker.

The kinds of call take turns within one run. Each runs in one warm process that times a bare GET of
its own between calls, so every ratio compares with a GET of the same process and moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import percentile, row
from benchmarks.dedupe.repeats import LINES, prompts
from benchmarks.dedupe.site import Site

#: Another process creates ids, one chunk at a time, and each is read once.
CHUNK = 50
LONG_CHARS = 20_000
MOST_HIT, MOST_READ, LEAST_FASTER = 3.0, 5.0, 10.0


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run the part; return its bounds and the raw seconds."""
    rounds, seconds = (200, 1.0) if short else (2000, 5.0)
    with Site() as site:
        site.engine.call("take", seconds=0.01)
        ours, other, plain = (site.producer(side) for side in ("ours", "ours", "plain"))
        asked = prompts(50, 0.0, seed=0)
        long = [f"{uuid4().hex} " + (LINES * LONG_CHARS)[:LONG_CHARS] for _ in range(10)]
        warm_up(ours, other, plain, asked, long)
        raw: dict[str, Any] = {"delay": [], "read": [], "worker": [], "long": []}
        for _ in range(max(1, rounds // CHUNK)):  # in turn, so that all see the same load
            raw["delay"].append(ours.call("hits", prompts=asked, rounds=CHUNK))
            ids = ours.call("submit", prompts=asked[:CHUNK])
            raw["read"].append(other.call("read", ids=ids))
            raw["worker"].append(plain.call("through_worker", prompts=asked, rounds=CHUNK))
        raw["long"].append(ours.call("hits", prompts=long, rounds=rounds // 4))
        raw = {name: _joined(chunks) for name, chunks in raw.items()}
        raw["per_second"] = ours.call("rate", prompts=asked, seconds=seconds)
        raw["generations"] = len(site.generations())
    return judge(raw, expected=2 * len(asked) + len(long)), raw


def warm_up(
    ours: Child, other: Child, plain: Child, asked: Sequence[str], long: Sequence[str]
) -> None:
    """Have each text answered once on each side, and let every process make its call once."""
    ours.call("batch", prompts=[*asked, *long])
    ours.call("hits", prompts=list(asked), rounds=len(asked))
    other.call("read", ids=ours.call("submit", prompts=list(asked)))
    plain.call("through_worker", prompts=list(asked), rounds=2 * len(asked))


def judge(raw: dict[str, Any], expected: int) -> list[Measure]:
    """Print the percentiles and return the measures that have a bound."""
    delay, read, worker = raw["delay"], raw["read"], raw["worker"]
    print(row("bare GET, warm connection", delay["bare"]))
    print(row("two bare GETs", [2 * one for one in delay["bare"]]))
    print(row(".delay() to the answer", delay["hit"]))
    print(row(f"same, prompt of {LONG_CHARS} characters", raw["long"]["hit"]))
    print(row("read by id in another process", read["read"]))
    print(row("plain task that looks in Redis", worker["hit"]))
    missed = len(delay["cached"]) - sum(delay["cached"])
    hit = _half(delay["hit"])
    return [
        Measure("hit / bare, p50", hit / _half(delay["bare"]), MOST_HIT),
        Measure("read by id / bare, p50", _half(read["read"]) / _half(read["bare"]), MOST_READ),
        Measure(
            "hit / through the worker, p50", hit / _half(worker["hit"]), 1 / LEAST_FASTER,
            note=f"{_half(worker['hit']) / hit:.1f} times faster",
        ),
        Measure("hits that the cache missed", missed, 0),
        Measure("generations beyond the first of each text", raw["generations"] - expected, 0),
        Measure("hits of one producer process", raw["per_second"], unit="/s"),
    ]  # fmt: skip


def _half(seconds: Sequence[float]) -> float:
    return percentile(seconds, 50)


def _joined(chunks: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    return {name: [one for chunk in chunks for one in chunk[name]] for name in chunks[0]}
