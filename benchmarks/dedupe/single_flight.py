"""Many callers ask the same question at once: the engine counts one generation for all.

8 producer processes send 200 calls to 3 workers of 4 slots, with an engine that takes 2 s. Further
rushes have only different prompts, two scopes, and the leader's worker killed half-way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import row
from benchmarks.dedupe.repeats import LINES, prompts
from benchmarks.dedupe.site import Site
from benchmarks.dedupe.watcher import Watcher
from local_llm_service.worker.store.keys import Keys

KEYS = Keys()

CALLS, PRODUCERS = 200, 8
ENGINE_SECONDS = 2.0
MOST_SPREAD_MS = 100.0
#: The time from a rush's start until all producers begin together.
AHEAD_SECONDS = 0.3


@dataclass(frozen=True)
class Rush:
    """One kind of rush. `calls` are keyword arguments; `generations` is how many they must cost."""

    name: str
    calls: Callable[[], list[dict[str, Any]]]
    generations: int
    kill: bool = False
    one_answer: bool = False


def same() -> list[dict[str, Any]]:
    """One text for all calls, new in each rush."""
    return [{"prompt": f"{uuid4().hex} {LINES}"}] * CALLS


def different() -> list[dict[str, Any]]:
    """A different text for each call."""
    return [{"prompt": text} for text in prompts(CALLS, 0.0, seed=0)]


def scopes() -> list[dict[str, Any]]:
    """One text for two tenants in turn."""
    text = f"{uuid4().hex} {LINES}"
    return [{"prompt": text, "cache_scope": f"tenant-{n // PRODUCERS % 2}"} for n in range(CALLS)]


RUSHES = (
    Rush("same", same, 1, one_answer=True),
    Rush("scopes", scopes, 2),
    Rush("different", different, CALLS),
    Rush("leader killed", same, 2, kill=True, one_answer=True),
)


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run all rushes; "same" runs several times, so that its percentiles mean something."""
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    with ExitStack() as exits:
        site = exits.enter_context(Site(sides=("ours",)))
        site.engine.call("take", seconds=ENGINE_SECONDS)
        producers = [site.producer("ours") for _ in range(PRODUCERS)]
        for producer in producers:  # warm up imports, connections and published catalogs
            producer.call("batch", prompts=prompts(1, 0.0, seed=0))
        site.generations()
        for rush in RUSHES:
            times = 1 if short or rush.name != "same" else 5
            played = [play(site, producers, rush) for _ in range(times)]
            raw[rush.name] = played
            measures += judge(rush, played)
    return measures, raw


def play(site: Site, producers: list[Child], rush: Rush) -> dict[str, Any]:
    """Play one rush; return the times of calls, wake-ups, stored results and generations."""
    calls = rush.calls()
    with Watcher(site.sides["ours"].redis.url) as watcher:
        at = time.monotonic() + AHEAD_SECONDS
        for number, producer in enumerate(producers):
            producer.ask("rush", calls=calls[number::PRODUCERS], at=at)
        killed = kill_leader(site, at + ENGINE_SECONDS / 2) if rush.kill else None
        answers = [one for producer in producers for one in producer.answer()]
        stored = watcher.stored({one["id"] for one in answers})
    return {
        "began": at,
        "killed": killed,
        "answers": answers,
        "stored": stored,
        "generations": site.generations(),
    }


def kill_leader(site: Site, at: float) -> float:
    """At the time `at`, kill -9 the worker that runs the only job; return the time of the kill."""
    time.sleep(max(0.0, at - time.monotonic()))
    side = site.sides["ours"]
    name = _runner(side.redis.url)
    for worker in side.workers:
        if worker.worker_name == name:
            worker.kill()
            return time.monotonic()
    raise RuntimeError(f"no worker runs a job: {name!r}")


def _runner(url: str) -> str | None:
    """The name of the worker whose job leads a single-flight group now."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for group in client.scan_iter(f"{KEYS.group}*", count=1000):
            leader = client.hget(group, "leader")
            name = leader and client.hget(KEYS.job(leader), "worker")
            if name:
                return str(name)
    return None


def judge(rush: Rush, played: list[dict[str, Any]]) -> list[Measure]:
    """Print one rush's times; return its bounds."""
    delays = [_delays(one) for one in played]
    print(row(f"{rush.name}: stored to woken", [s for wake, _ in delays for s in wake]))
    print(row(f"{rush.name}: asked to woken", [s for _, whole in delays for s in whole]))
    worst = max(abs(len(one["generations"]) - rush.generations) for one in played)
    missing = max(CALLS - sum(1 for a in one["answers"] if a["text"]) for one in played)
    found = [
        Measure(
            f"{rush.name}: generations that are not {rush.generations}", worst, 0,
            note=f"seen {[len(one['generations']) for one in played]}",
        ),
        Measure(f"{rush.name}: of {CALLS} calls not answered", missing, 0),
    ]  # fmt: skip
    if rush.one_answer:
        spreads = [_spread_ms(one) for one in played]
        note = f"all {[round(one) for one in spreads]}"
        found.append(
            Measure(f"{rush.name}: first to last stored", max(spreads), MOST_SPREAD_MS, "ms", note)
        )
    if rush.kill:
        again = [max(g[0] for g in one["generations"]) - one["killed"] for one in played]
        found.append(Measure(f"{rush.name}: kill to asked again", max(again), unit="s"))
    print(f"    origins {_origins(played[-1])}")
    return found


def _delays(one: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Seconds from stored to woken (of results seen to be stored), and from asked to woken."""
    woken = {a["id"]: a["woken"] for a in one["answers"]}
    wake = [woken[task_id] - at for task_id, at in one["stored"].items()]
    return wake, [a["woken"] - a["asked"] for a in one["answers"]]


def _spread_ms(one: dict[str, Any]) -> float:
    """The spread, or nan, which breaks the bound, unless all answers were seen to be stored."""
    times = list(one["stored"].values())
    return (max(times) - min(times)) * 1000 if len(times) == CALLS else float("nan")


def _origins(one: dict[str, Any]) -> dict[str, int]:
    found = [a["origin"] for a in one["answers"]]
    return {name: found.count(name) for name in sorted(set(found))}
