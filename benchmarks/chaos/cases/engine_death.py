"""Jobs kill the engine that they share with healthy ones: its runner, and `ollama serve` itself.

Three kinds of culprits: one whose prompt kills, one whose grammar kills and is on no list, and one
whose grammar is known to kill 0.24 and is therefore never sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from benchmarks.chaos import judge
from benchmarks.chaos.engines import Engine
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.prompts import POISON, Ask, job_of
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from tests.doubles.dying_ollama import Death, DyingOllama
from tests.doubles.ollama import Script

NEIGHBOURS, SMALL = 3, 5
#: A title is not read by Ollama; the scripted engine dies of this one.
UNKNOWN_KILLER = {
    "type": "object",
    "properties": {"a": {"type": "string", "title": "kills"}},
    "required": ["a"],
}
KNOWN_KILLER = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^\\d+$"}},
    "required": ["a"],
}
#: A start beside others, one alone, one without the grammar.
MOST_STARTS = 3


@dataclass
class MortalEngine(Engine, DyingOllama):
    """An engine that dies of some requests, as Ollama 0.24 does."""

    version: str = "0.24.0"
    kills: str = "runner"
    died_at: list[tuple[float, str, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        healthy = self.respond
        self.respond = lambda body: self._answer(body) or healthy(body)
        self.on_death = self._note

    def _answer(self, body: dict[str, Any]) -> Script | None:
        member = (body.get("format") or {}).get("properties", {}).get("a", {})
        deadly = member.get("title") == "kills" or "\\d" in member.get("pattern", "")
        if deadly or POISON in str(body["messages"]):
            return Death(kills=self.kills, first_seconds=0.3)
        if "JSON Schema" in str(body["messages"][0]):
            return Script(chunks=('{"a": ', '"42"}'), pause_seconds=0.1)
        return None

    def _note(self, bodies: list[dict[str, Any]]) -> None:
        self.died_at.append((time.monotonic(), self.kills, [job_of(body) for body in bodies]))


@dataclass
class Round:
    """The jobs of one kind of death, by what they are."""

    kills: str
    healthy: list[str]
    small: list[str]
    prompt: str
    unknown: str
    known: str
    small_seconds: float = 0.0


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    plan = Plan(redis_port, 5 if short else 20, engine=MortalEngine)
    with Site(plan) as site:
        site.supervisor.start(0)
        engine: Any = site.engines[0]
        rounds = [_play(site, engine, kills) for kills in ("runner", "serve")]
        outcome = _judge(site, engine, rounds)
        site.keep = not outcome.kept
        deaths = [
            {"event": "engine death", "at": at, "kills": kills, "jobs": jobs}
            for at, kills, jobs in engine.died_at
        ]
        write_raw("engine-death", site, deaths)
    return outcome


def _play(site: Site, engine: MortalEngine, kills: str) -> Round:
    """Neighbours run; then the culprits come, and behind them small jobs."""
    engine.kills = kills
    before = len(engine.generations())
    healthy = [site.submitter.submit(lambda job: Ask(job, 4.0)).ask.job for _ in range(NEIGHBOURS)]
    site.until(lambda: len(engine.generations()) == before + NEIGHBOURS, 30)
    prompt = site.submitter.submit(lambda job: Ask(job, 1.0, poison=True)).ask.job
    unknown, known = _structured(site, UNKNOWN_KILLER), _structured(site, KNOWN_KILLER)
    began = time.monotonic()
    small = [site.submitter.submit(lambda job: Ask(job, 0.3)).ask.job for _ in range(SMALL)]
    site.until(lambda: not site.recorder.unanswered(small), 120)
    played = Round(kills, healthy, small, prompt, unknown, known, time.monotonic() - began)
    site.until(lambda: not site.recorder.unanswered([unknown, known]), 120)
    site.until_answered(120)
    site.recorder.read_once_more()
    return played


def _structured(site: Site, schema: dict[str, Any]) -> str:
    from local_llm_service import tasks

    ask = Ask(str(uuid4()), 0.3)
    site.recorder.expect(ask.job)
    tasks.structured_output.apply_async(
        kwargs={"prompt": ask.prompt, "schema": schema, "priority": "normal"}, task_id=ask.job
    )
    return ask.job


def _judge(site: Site, engine: MortalEngine, rounds: list[Round]) -> Outcome:
    starts = judge.runs_per_job(engine.generations())
    measures = []
    for one in rounds:
        innocent = [*one.healthy, *one.small, one.unknown, one.known]
        gone = judge.lost(site.recorder, innocent)
        answer = site.recorder.answer(one.prompt)
        kind = judge.kind_of(answer.result) if answer else "no answer"
        deaths = sum(kills == one.kills for _, kills, _ in engine.died_at)
        most = max(len(starts[job]) for job in one.healthy)
        measures += [
            Measure(f"{one.kills}: deaths", deaths, 5),
            Measure(
                f"{one.kills}: starts, prompt that kills", len(starts[one.prompt]), MOST_STARTS
            ),
            Measure(
                f"{one.kills}: starts, grammar that kills", len(starts[one.unknown]), MOST_STARTS
            ),
            Measure(f"{one.kills}: starts, grammar on the list", len(starts[one.known]), 2),
            Measure(f"{one.kills}: starts of a neighbour, most", most),
            Measure(f"{one.kills}: others not answered", len(gone), 0, note=judge.some(gone)),
            Measure(
                f"{one.kills}: not CrashedTooOften", int(kind != "CrashedTooOften"), 0, note=kind
            ),
            Measure(f"{one.kills}: five small jobs answered after", one.small_seconds, None, "s"),
        ]
    measures.append(Measure("workers that ended", len(site.supervisor.deaths), 0))
    return Outcome("engine_death", measures)
