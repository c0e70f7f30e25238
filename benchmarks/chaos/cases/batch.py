"""Kills `local-llm batch`, its workers and Redis with SIGKILL while it answers a file of lines.

Redis keeps its file with `everysec`, so it may also forget the last second. At the end each line is
in the output once. A kill may let lines that were in flight run again, so at most the window.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.chaos import judge
from benchmarks.chaos.batch_process import BatchProcess
from benchmarks.chaos.engines import Generation
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import RESULTS, Outcome
from benchmarks.chaos.site import Plan, Site

VICTIMS = ("batch", "worker", "redis")
WORKERS, SLOTS = 2, 4
WINDOW = 2 * WORKERS * SLOTS
EVERYSEC = ("--appendfsync", "everysec", "--save", "")
#: Redis is away for so long after a kill, seconds.
AWAY_SECONDS = (0.1, 2.0)


@dataclass(frozen=True)
class Size:
    """The numbers of lines and kills, and the seconds between two kills."""

    lines: int
    kills: int
    gap_seconds: tuple[float, float]
    seconds: tuple[float, float] = (0.01, 0.1)
    lease_seconds: int = 5
    seed: int = 20261128


@dataclass
class Kill:
    """One kill; `again` lists the lines that it made run again."""

    who: str
    at: float
    hit: bool
    again: list[str] = field(default_factory=list)


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(300, 6, (0.7, 2.0), (0.1, 0.5)) if short else Size(10_000, 30, (2.0, 5.0))
    # By contract a job that kills have interrupted MAX_CRASHES times is poison; here it is healthy.
    plan = Plan(
        redis_port,
        size.lease_seconds,
        workers=WORKERS,
        slots=SLOTS,
        chunk_seconds=0.05,
        environment={"MAX_CRASHES": "30"},
        redis_options=EVERYSEC,
    )
    with Site(plan) as site:
        site.supervisor.start(*range(WORKERS))
        process = _process(site, size)
        try:
            kills = _play(site, process, size)
        finally:
            process.stop()
        outcome = _judge(site, process, size, kills)
        site.keep = not outcome.kept
    return outcome


def _process(site: Site, size: Size) -> BatchProcess:
    chance = random.Random(size.seed)
    lines = [
        {"custom_id": f"line-{n}", "prompt": Ask(f"line-{n}", chance.uniform(*size.seconds)).prompt}
        for n in range(size.lines)
    ]
    given, output = site.directory / "in.jsonl", site.directory / "out.jsonl"
    given.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    words = ["batch", "generate", str(given), "-o", str(output), "--no-cache"]
    return BatchProcess(words, site.directory / "batch.log", {"REDIS_URL": site.redis.url})


def _play(site: Site, process: BatchProcess, size: Size) -> list[Kill]:
    chance = random.Random(size.seed)
    kills: list[Kill] = []

    def ticks() -> bool:
        process.tick()
        return process.is_done

    order = [VICTIMS[n % len(VICTIMS)] for n in range(size.kills)]
    chance.shuffle(order)
    for who in order:
        site.until(ticks, chance.uniform(*size.gap_seconds))
        kills.append(_kill(site, process, who, chance))
    site.until(ticks, 600 + size.lines / 5)
    return kills


def _kill(site: Site, process: BatchProcess, who: str, chance: random.Random) -> Kill:
    at, works = time.monotonic(), not process.is_done
    if who == "batch":
        return Kill(who, at, process.kill())
    if who == "worker":
        running = [one.number for one in site.supervisor.workers if one.running]
        if running:
            site.supervisor.kill(chance.choice(running))
        return Kill(who, at, works and bool(running))
    site.redis.kill()
    site.run_for(chance.uniform(*AWAY_SECONDS))
    site.redis.start()
    return Kill(who, at, works)


def _judge(site: Site, process: BatchProcess, size: Size, kills: list[Kill]) -> Outcome:
    output = [json.loads(line) for line in (site.directory / "out.jsonl").read_text().splitlines()]
    written = Counter(one["custom_id"] for one in output)
    wrong = [one for one in output if not _is_own_answer(one)]
    missing = [f"line-{n}" for n in range(size.lines) if f"line-{n}" not in written]
    failed = _lines(site.directory / "out.errors.jsonl")
    again, unexplained = _attribute(site.generations(), kills)
    most = max((len(kill.again) for kill in kills), default=0)
    seconds = max(one.ended or 0.0 for one in site.generations()) - site.began
    _write_raw(site, kills, written)
    measures = [
        Measure("lines", size.lines),
        Measure("kills", len(kills)),
        *(Measure(f"kills of {who}", sum(k.who == who for k in kills)) for who in VICTIMS),
        Measure("kills that hit nothing at work", sum(not k.hit for k in kills), 0),
        Measure("ended with another code than 0", int(process.exits[-1:] != [0]), 0),
        Measure("missing", len(missing), 0, note=", ".join(missing[:3])),
        Measure("written twice", sum(count - 1 for count in written.values()), 0),
        Measure("answers of another line", len(wrong), 0),
        Measure("failed lines", len(failed), 0),
        Measure("generated again, all", again),
        Measure("generated again, most by one kill", most, WINDOW),
        Measure("generated again, without a kill", len(unexplained), 0),
        Measure("starts of the batch", process.starts),
        Measure("seconds", seconds, None, "s"),
        Measure("lines a second, kills included", size.lines / seconds),
    ]
    return Outcome("batch", measures, details={"missing": missing, "unexplained": unexplained})


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _is_own_answer(one: dict[str, Any]) -> bool:
    return str(one["answer"]["text"]).startswith(f"{one['custom_id']} run ")


def _attribute(generations: list[Generation], kills: list[Kill]) -> tuple[int, list[str]]:
    """Give each repeated generation to the first kill after the one before it began.

    Returns how many there are, and those that no kill explains.
    """
    unexplained, again = [], 0
    for job, runs in judge.runs_per_job(generations).items():
        for earlier, later in pairwise(runs):
            again += 1
            between = [k for k in kills if earlier.began <= k.at + 0.01 and k.at <= later.began]
            if between:
                between[0].again.append(job)
            else:
                unexplained.append(job)
    return again, unexplained


def _write_raw(site: Site, kills: list[Kill], written: Counter[str]) -> None:
    """Each kill, and each line as [id, times written, began, ended, ...] of its generations."""
    began = site.began
    lines: list[Any] = [
        {"event": "kill", "who": one.who, "at": round(one.at - began, 3), "again": one.again}
        for one in kills
    ]
    for job, runs in sorted(judge.runs_per_job(site.generations()).items()):
        times = [
            None if at is None else round(at - began, 3)
            for run in runs
            for at in (run.began, run.ended)
        ]
        lines.append([job, written[job], *times])
    RESULTS.mkdir(exist_ok=True)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (RESULTS / "chaos-batch.jsonl").write_text(text)
