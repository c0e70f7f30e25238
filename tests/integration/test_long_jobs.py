"""A job of twelve pieces in worker processes: killed, drained, and overtaken, it loses no piece."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.step_worker import StepWorker
from tests.integration.conftest import StartWorker

KEYS = Keys()
PIECES = 12
_numbers = count(1)


@pytest.fixture
def start(start_worker_of: StartWorker, ollama: FakeOllama) -> StartWorker:
    """Start workers that read line by line; they end with the test."""
    ollama.respond = quickly
    return partial(start_worker_of, StepWorker, LEASE_SECONDS="3")


def quickly(body: dict[str, Any]) -> Script:
    """The last line of the prompt comes back."""
    return Script(chunks=(str(body["messages"][-1]["content"]),))


def hanging_at(piece: str) -> Callable[[dict[str, Any]], Script]:
    """The same; but the first answer to this piece has no end."""
    left = [piece]

    def respond(body: dict[str, Any]) -> Script:
        text = body["messages"][-1]["content"]
        if text in left:
            left.remove(text)
            return Script(chunks=("never ",), end="hang")
        return quickly(body)

    return respond


def new_pieces() -> list[str]:
    """Twelve lines that no other test has."""
    name = f"document {next(_numbers)}"
    return [f"{name}, line {number}" for number in range(1, PIECES + 1)]


def asked(ollama: FakeOllama) -> list[str]:
    """What the model was asked, in order."""
    return [seen.body["messages"][-1]["content"] for seen in ollama.seen]


def is_begun(ollama: FakeOllama, piece: str) -> Callable[[], bool]:
    """Whether the model was asked this piece."""
    return lambda: piece in asked(ollama)


def test_a_worker_killed_in_the_seventh_piece_costs_that_piece(
    start: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The six before are not generated again, whichever worker goes on."""
    pieces = new_pieces()
    ollama.respond = hanging_at(pieces[6])
    first = start(CONCURRENCY="1")
    job = tasks.summarize.delay("\n".join(pieces))
    wait_until(is_begun(ollama, pieces[6]), "the seventh piece is read")
    first.kill()
    start(CONCURRENCY="1")
    answer = job.get(timeout=30)
    joined = "join " + " ".join(pieces)
    assert answer["summary"] == joined
    assert asked(ollama) == [*pieces[:7], *pieces[6:], joined]
    assert redis_client.hmget(KEYS.job(job.id), "crashes", "attempts") == ["1", None]
    assert answer["usage"]["completion_tokens"] == 13, "the six count, too"


def test_a_worker_that_drains_stops_between_two_pieces(
    start: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Not after DRAIN_SECONDS, and not after the job; the next worker finds all that it had."""
    pieces = new_pieces()
    ollama.respond = lambda body: Script(quickly(body).chunks, first_seconds=0.15)
    first = start(CONCURRENCY="1", DRAIN_SECONDS="60")
    job = tasks.summarize.delay("\n".join(pieces))
    wait_until(is_begun(ollama, pieces[2]), "the third piece is read")
    os.kill(first.pid, signal.SIGTERM)
    wait_until(lambda: not first.running, "the worker has gone")
    assert asked(ollama) == pieces[: len(asked(ollama))], "each was asked once"
    assert len(asked(ollama)) < 8
    assert status(job.id) == "queued"
    fields = redis_client.hmget(KEYS.job(job.id), "kept_steps", "crashes", "attempts")
    assert fields == [str(len(asked(ollama))), None, None]
    assert len(list(redis_client.scan_iter(f"{KEYS.step}*"))) == len(asked(ollama))


def test_urgent_jobs_overtake_it_between_two_pieces(
    start: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Each of the first two starts after the running piece; the third after the job."""
    pieces = new_pieces()
    urgent: list[Any] = []

    def respond(body: dict[str, Any]) -> Script:
        if quickly(body).chunks[0] in (pieces[2], pieces[5], pieces[8]):
            urgent.append(tasks.generate.delay(f"urgent {len(urgent)}", priority="high"))
        return Script(quickly(body).chunks, first_seconds=0.02)

    ollama.respond = respond
    start(CONCURRENCY="1")
    job = tasks.summarize.delay("\n".join(pieces), priority="low", stream=True)
    job.get(timeout=30)
    for one in urgent:
        one.get(timeout=30)
    expected = [*pieces, "join " + " ".join(pieces), "urgent 2"]
    expected.insert(6, "urgent 1")
    expected.insert(3, "urgent 0")
    assert asked(ollama) == expected
    assert redis_client.hmget(KEYS.job(job.id), "yields", "attempts") == ["2", None]
