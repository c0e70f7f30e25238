"""How long interactive jobs wait beside a batch that fills every slot.

Each is asked alone, at a random time. Its wait, from the call to the engine's first sight of it, is
compared with the time until the first of the low jobs ends that run once it is in the queue: the
rest is the service's.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from benchmarks.batch.site import BatchSite, TimedOllama
from benchmarks.chaos.judge import Measure, percentile
from tests.doubles.ollama import Script, Seen

SLOTS = 4
LOW_SECONDS, CHUNKS = (0.4, 0.8), 6
#: What may come on top of the remaining time of one low job.
LIMIT_SECONDS = 0.05
#: From the take out of Redis to the engine, at most.
ON_ITS_WAY_SECONDS = 0.03
#: The batch fills its slots meanwhile.
WARM_SECONDS = 3.0


def measure(jobs: int) -> tuple[list[Measure], dict[str, Any]]:
    """Ask so many interactive jobs beside a batch that outlasts them."""
    with BatchSite(_respond, workers=1, slots=SLOTS) as site:
        # Set before anything of the package reads it.
        os.environ["REDIS_URL"] = site.redis.url
        process = site.begin_batch(100_000, lambda number: f"low {number}")
        time.sleep(WARM_SECONDS)
        found = [_ask(site, number) for number in range(jobs)]
        assert process.poll() is None, "the batch has ended too early"
    return _judge(found), {"columns": ["wait", "remaining", "busy"], "jobs": found}


def _respond(body: dict[str, Any]) -> Script:
    if "high" in _prompt(body):
        return Script(chunks=("Yes.",))
    # Different lengths: slots that all end at once would wait for each other's bookkeeping.
    seconds = random.Random(_prompt(body)).uniform(*LOW_SECONDS)
    return Script(chunks=("word ",) * CHUNKS, pause_seconds=seconds / CHUNKS)


def _prompt(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def _ask(site: BatchSite, number: int) -> tuple[float, float, int]:
    """Ask one job; return its wait, the time until a low job has ended, and the busy slots."""
    from local_llm_service import Client

    chance = random.Random(number)
    time.sleep(chance.uniform(0.05, LOW_SECONDS[1]))
    engine, called = site.engine, time.monotonic()
    job = Client().generate(f"high {number}", cache=False, priority="high")
    first, now = max(0, len(engine.seen) - 4 * SLOTS), time.monotonic()
    job.result(timeout_seconds=30)
    began = next(one for one in reversed(engine.seen) if _is(one, number)).began_at
    # A low job that begins just now was taken out of Redis before this one was there.
    lows = [n for n in range(first, len(engine.seen)) if _runs(engine, n, now)]
    free = min(engine.ended.get(n, began) for n in lows) if len(lows) >= SLOTS else now
    return round(began - called, 5), round(max(0.0, free - called), 5), len(lows)


def _runs(engine: TimedOllama, place: int, now: float) -> bool:
    """Whether a low job ran at a time, or was on its way from Redis to the engine."""
    seen = engine.seen[place]
    is_low = "low" in _prompt(seen.body)
    return (
        is_low
        and seen.began_at < now + ON_ITS_WAY_SECONDS
        and not (engine.ended.get(place, now) < now)
    )


def _is(seen: Seen, number: int) -> bool:
    return _prompt(seen.body) == f"high {number}"


def _judge(found: list[tuple[float, float, int]]) -> list[Measure]:
    waits = [wait for wait, _, _ in found]
    extra = [wait - remaining for wait, remaining, _ in found]
    return [
        Measure("interactive jobs", len(found)),
        Measure("of them with all slots busy", sum(busy >= SLOTS for _, _, busy in found)),
        Measure("one low job takes, at most", LOW_SECONDS[1] * 1000, None, "ms"),
        Measure("wait, p50", percentile(waits, 50) * 1000, None, "ms"),
        Measure("wait, p95", percentile(waits, 95) * 1000, None, "ms"),
        Measure("beyond the low job's rest, p50", percentile(extra, 50) * 1000, None, "ms"),
        Measure(
            "beyond the low job's rest, p95",
            percentile(extra, 95) * 1000,
            LIMIT_SECONDS * 1000,
            "ms",
        ),
        Measure("beyond the low job's rest, most", max(extra) * 1000, None, "ms"),
    ]
