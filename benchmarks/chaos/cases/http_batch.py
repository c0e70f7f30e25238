"""Kills workers, Redis and HTTP processes with SIGKILL while a batch of HTTP runs and people chat.

The batch is made, and watched, by the official `openai` client. Two HTTP processes share a folder;
Redis keeps its file with `everysec`, so it may also forget the last second. At the end each line is
in the output once, and no chat has ended in silence with half an answer.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai

from benchmarks.chaos.chat_callers import CHAT_SECONDS, CHUNKS, ChatCallers
from benchmarks.chaos.judge import Measure, runs_per_job
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.replica import Replica
from benchmarks.chaos.report import RESULTS, Outcome
from benchmarks.chaos.site import Plan, Site

VICTIMS = ("http", "worker", "redis")
WORKERS, SLOTS, REPLICAS = 2, 4, 2
EVERYSEC = ("--appendfsync", "everysec", "--save", "")
#: Redis is away for so long after a kill, seconds.
AWAY_SECONDS = (0.1, 2.0)
ENDED = ("completed", "failed", "expired", "cancelled")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """The numbers of lines and kills, and the seconds between two kills."""

    lines: int = 500
    kills: int = 9
    gap_seconds: tuple[float, float] = (1.0, 3.0)
    seconds: tuple[float, float] = (0.1, 0.4)
    lease_seconds: int = 5
    seed: int = 20261128


@dataclass
class Found:
    """What came of it."""

    batch: Any
    output: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    chats: Counter[str] = field(default_factory=Counter)
    chat_errors: Counter[str] = field(default_factory=Counter)
    repeated: int = 0


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(40, 3, (1.0, 2.0), (0.3, 0.8)) if short else Size(5000, 60)
    with Site(plan_of(redis_port, size)) as site:
        found = play(site, size, lambda _: None)
        outcome = _judge(size, found, time.monotonic() - site.began)
        site.keep = not outcome.kept
    return outcome


def plan_of(redis_port: int, size: Size) -> Plan:
    """The parts. By contract a job that kills have interrupted MAX_CRASHES times is poison."""
    return Plan(
        redis_port,
        size.lease_seconds,
        workers=WORKERS,
        slots=SLOTS,
        chunk_seconds=CHAT_SECONDS / CHUNKS,
        environment={"MAX_CRASHES": "30"},
        redis_options=EVERYSEC,
    )


def play(site: Site, size: Size, say: Say) -> Found:
    """Run one batch on a site, kill, and collect what is there; `say` tells of each step."""
    site.supervisor.start(*range(WORKERS))
    environment = {"REDIS_URL": site.redis.url, "FILES_DIR": str(site.directory / "files")}
    replicas = [Replica(environment, site.directory / f"http-{n}.log") for n in range(REPLICAS)]
    playing = _Play(site, size, replicas, say)
    try:
        return playing.run()
    finally:
        playing.close()
        for one in replicas:
            one.kill()


class _Play:
    def __init__(self, site: Site, size: Size, replicas: list[Replica], say: Say) -> None:
        self._site, self._size, self._replicas, self._say = site, size, replicas, say
        self._chance = random.Random(size.seed)
        self._kills: Counter[str] = Counter()
        self._clients = {
            one.port: openai.OpenAI(
                base_url=f"{one.url}/v1", api_key="none", timeout=10, max_retries=0
            )
            for one in replicas
        }

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def run(self) -> Found:
        """Play it."""
        self._until(self._answers, 60, "HTTP answers")
        client = self._client(self._replicas[0])
        file = client.files.create(file=("in.jsonl", self._lines()), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        self._say(f"batch {batch.id}: {self._size.lines} lines")
        order = [VICTIMS[n % len(VICTIMS)] for n in range(self._size.kills)]
        self._until(lambda: self._has_begun(batch.id), 60, "a line is done")
        with ChatCallers([one.url for one in self._replicas]) as callers:
            for who in order:
                self._run_for(self._chance.uniform(*self._size.gap_seconds))
                self._kill(who, batch.id)
            patience = 120 + self._size.lines
            ended = self._until(lambda: self._ended(batch.id), patience, "the batch ends")
        self._say(f"the batch is {ended.status}: {ended.request_counts}")
        self._until(self._answers, 60, "HTTP answers")
        found = Found(ended, kills=self._kills, chats=callers.ends, chat_errors=callers.errors)
        if ended.output_file_id:
            found.output = self._read(ended.output_file_id)
        if ended.error_file_id:
            found.errors = self._read(ended.error_file_id)
        jobs = runs_per_job(self._site.generations())
        found.repeated = sum(len(runs) - 1 for job, runs in jobs.items() if "line-" in job)
        return found

    def _lines(self) -> bytes:
        lines = []
        for number in range(self._size.lines):
            name = f"line-{number}"
            prompt = Ask(name, self._chance.uniform(*self._size.seconds)).prompt
            body = {"model": "fake:1b", "messages": [{"role": "user", "content": prompt}]}
            asked = {"method": "POST", "url": "/v1/chat/completions", "body": body}
            lines.append(json.dumps({"custom_id": name, **asked}))
        return "\n".join(lines).encode()

    def _kill(self, who: str, batch_id: str) -> None:
        before = self._look(batch_id)
        counted = f"{before.request_counts.completed} lines done" if before else "nobody can say"
        if who == "http":
            self._chance.choice(self._replicas).kill()
        elif who == "worker":
            running = [one.number for one in self._site.supervisor.workers if one.running]
            if running:
                self._site.supervisor.kill(self._chance.choice(running))
        else:
            self._site.redis.kill()
            self._run_for(self._chance.uniform(*AWAY_SECONDS))
            self._site.redis.start()
        self._kills[who] += 1
        self._say(f"kill -9 {who} ({counted})")

    def _answers(self) -> bool:
        return all(self._reached(one) for one in self._replicas)

    def _reached(self, replica: Replica) -> bool:
        try:
            self._client(replica).batches.list(limit=1)
        except openai.OpenAIError:
            return False
        return True

    def _look(self, batch_id: str) -> Any:
        """The batch as some replica tells it; None where none does."""
        for replica in self._replicas:
            try:
                return self._client(replica).batches.retrieve(batch_id)
            except openai.OpenAIError:
                continue
        return None

    def _has_begun(self, batch_id: str) -> bool:
        found = self._look(batch_id)
        return found is not None and found.request_counts.completed > 0

    def _ended(self, batch_id: str) -> Any:
        found = self._look(batch_id)
        self._run_for(0.3)
        return found if found is not None and found.status in ENDED else None

    def _read(self, file_id: str) -> list[Any]:
        text = self._client(self._replicas[0]).files.content(file_id).text
        return [json.loads(line) for line in text.splitlines()]

    def _client(self, replica: Replica) -> openai.OpenAI:
        return self._clients[replica.port]

    def _tick(self) -> bool:
        for one in self._replicas:
            one.tick()
        return False

    def _run_for(self, seconds: float) -> None:
        self._site.until(self._tick, seconds)

    def _until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        found: list[Any] = []

        def holds() -> bool:
            self._tick()
            value = condition()
            if value:
                found.append(value)
            return bool(value)

        if not self._site.until(holds, seconds):
            raise TimeoutError(f"never happened within {seconds:g} s: {what}")
        return found[0]


def _is_own_answer(one: dict[str, Any]) -> bool:
    content = one["response"]["body"]["choices"][0]["message"]["content"]
    return str(content).startswith(f"{one['custom_id']} run ")


def _judge(size: Size, found: Found, seconds: float) -> Outcome:
    written = Counter(one["custom_id"] for one in found.output)
    missing = [f"line-{n}" for n in range(size.lines) if f"line-{n}" not in written]
    _write_raw(found)
    measures = [
        Measure("lines", size.lines),
        *(Measure(f"kills of {who}", found.kills[who]) for who in VICTIMS),
        Measure("not completed", int(found.batch.status != "completed"), 0),
        Measure("missing", len(missing), 0, note=", ".join(missing[:3])),
        Measure("written twice", sum(count - 1 for count in written.values()), 0),
        Measure("answers of another line", sum(not _is_own_answer(o) for o in found.output), 0),
        Measure("failed lines", len(found.errors), 0),
        Measure("generated again", found.repeated, WORKERS * SLOTS * sum(found.kills.values())),
        Measure("chats answered", found.chats["answer"]),
        Measure("chats that raised", found.chats["error"]),
        Measure("chats that ended half, in silence", found.chats["half"], 0),
        Measure("seconds", seconds, None, "s"),
    ]
    return Outcome("http_batch", measures, details={"missing": missing})


def _write_raw(found: Found) -> None:
    RESULTS.mkdir(exist_ok=True)
    told = {"kills": found.kills, "chats": found.chats, "chat_errors": found.chat_errors}
    lines = [told, *([one["custom_id"], one["id"]] for one in found.output)]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (RESULTS / "chaos-http-batch.jsonl").write_text(text)
