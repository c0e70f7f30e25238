"""Many callers ask the same at once: one generation for all, counted at the engine.

200 calls from 8 producer processes to 3 workers of 4 slots, an engine that takes 2 s. Beside it
the same with all prompts different, with two scopes, and with the leading worker killed half-way.
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
#: From now until the producers begin, all at once.
AHEAD_SECONDS = 0.3


@dataclass(frozen=True)
class Flight:
    """One kind of rush. `calls` are keyword arguments; `generations` is what they must cost."""

    name: str
    calls: Callable[[], list[dict[str, Any]]]
    generations: int
    kill: bool = False
    one_answer: bool = False


def same() -> list[dict[str, Any]]:
    """One text for all, new at each call."""
    return [{"prompt": f"{uuid4().hex} {LINES}"}] * CALLS


def different() -> list[dict[str, Any]]:
    """No text twice."""
    return [{"prompt": text} for text in prompts(CALLS, 0.0, seed=0)]


def scopes() -> list[dict[str, Any]]:
    """One text, two tenants in turn."""
    text = f"{uuid4().hex} {LINES}"
    return [{"prompt": text, "cache_scope": f"tenant-{n // PRODUCERS % 2}"} for n in range(CALLS)]


FLIGHTS = (
    Flight("same", same, 1, one_answer=True),
    Flight("scopes", scopes, 2),
    Flight("different", different, CALLS),
    Flight("leader killed", same, 2, kill=True, one_answer=True),
)


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """All flights; "same" is flown several times, so that its percentiles mean something."""
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    with ExitStack() as exits:
        site = exits.enter_context(Site(sides=("ours",)))
        site.engine.call("take", seconds=ENGINE_SECONDS)
        producers = [site.producer("ours") for _ in range(PRODUCERS)]
        for producer in producers:  # warm: imports, connections, what workers publish
            producer.call("batch", prompts=prompts(1, 0.0, seed=0))
        site.generations()
        for flight in FLIGHTS:
            times = 1 if short or flight.name != "same" else 5
            flown = [fly(site, producers, flight) for _ in range(times)]
            raw[flight.name] = flown
            measures += judge(flight, flown)
    return measures, raw


def fly(site: Site, producers: list[Child], flight: Flight) -> dict[str, Any]:
    """One rush: who asked and woke when, what was stored when, what the engine was asked."""
    calls = flight.calls()
    with Watcher(site.sides["ours"].redis.url) as watcher:
        at = time.monotonic() + AHEAD_SECONDS
        for number, producer in enumerate(producers):
            producer.ask("flight", calls=calls[number::PRODUCERS], at=at)
        killed = kill_leader(site, at + ENGINE_SECONDS / 2) if flight.kill else None
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
    """At the time `at`, kill -9 the worker that runs the only job; returns when that was."""
    time.sleep(max(0.0, at - time.monotonic()))
    side = site.sides["ours"]
    name = _runner(side.redis.url)
    for worker in side.workers:
        if worker.worker_name == name:
            worker.kill()
            return time.monotonic()
    raise RuntimeError(f"no worker runs a job: {name!r}")


def _runner(url: str) -> str | None:
    """The name of the worker whose job leads a flight now."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for flight in client.scan_iter(f"{KEYS.group}*", count=1000):
            leader = client.hget(flight, "leader")
            name = leader and client.hget(KEYS.job(leader), "worker")
            if name:
                return str(name)
    return None


def judge(flight: Flight, flown: list[dict[str, Any]]) -> list[Measure]:
    """Print one flight's times; returns its bounds."""
    delays = [_delays(one) for one in flown]
    print(row(f"{flight.name}: stored to woken", [s for wake, _ in delays for s in wake]))
    print(row(f"{flight.name}: asked to woken", [s for _, whole in delays for s in whole]))
    worst = max(abs(len(one["generations"]) - flight.generations) for one in flown)
    missing = max(CALLS - sum(1 for a in one["answers"] if a["text"]) for one in flown)
    found = [
        Measure(
            f"{flight.name}: generations that are not {flight.generations}", worst, 0,
            note=f"seen {[len(one['generations']) for one in flown]}",
        ),
        Measure(f"{flight.name}: of {CALLS} calls not answered", missing, 0),
    ]  # fmt: skip
    if flight.one_answer:
        spreads = [_spread_ms(one) for one in flown]
        note = f"all {[round(one) for one in spreads]}"
        found.append(
            Measure(
                f"{flight.name}: first to last stored", max(spreads), MOST_SPREAD_MS, "ms", note
            )
        )
    if flight.kill:
        again = [max(g[0] for g in one["generations"]) - one["killed"] for one in flown]
        found.append(Measure(f"{flight.name}: kill to asked again", max(again), unit="s"))
    print(f"    origins {_origins(flown[-1])}")
    return found


def _delays(one: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Seconds from stored to woken (of those that were seen stored), and from asked to woken."""
    woken = {a["id"]: a["woken"] for a in one["answers"]}
    wake = [woken[task_id] - at for task_id, at in one["stored"].items()]
    return wake, [a["woken"] - a["asked"] for a in one["answers"]]


def _spread_ms(one: dict[str, Any]) -> float:
    """nan, which breaks the bound, unless every answer was seen to be stored."""
    times = list(one["stored"].values())
    return (max(times) - min(times)) * 1000 if len(times) == CALLS else float("nan")


def _origins(one: dict[str, Any]) -> dict[str, int]:
    found = [a["origin"] for a in one["answers"]]
    return {name: found.count(name) for name in sorted(set(found))}
