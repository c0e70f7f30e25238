"""What follows a result is not lost: a chord's body runs once, whoever dies at whatever moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain, chord

from local_llm_service import tasks
from local_llm_service.worker.app import app as our_app
from local_llm_service.worker.errors import ModelMissing
from local_llm_service.worker.store.afterwork import Afterwork
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.dying_worker import POINTS, DyingWorker
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.plain_backend import PlainWorker, close, make_app, runs
from tests.integration.conftest import StartWorker, _beside

KEYS = Keys()


def echo(body: dict[str, Any]) -> Script:
    """Answer with the user's message."""
    return Script(chunks=(f"<{body['messages'][-1]['content']}>.",))


@pytest.fixture
def dying(redis_client: redis.Redis, ollama: FakeOllama) -> Iterator[Any]:
    """Start a worker that dies at a point."""
    started: list[DyingWorker] = []

    def start(point: str) -> DyingWorker:
        started.append(DyingWorker(_beside(ollama, {"LEASE_SECONDS": "3"}), point))
        started[-1].start()
        return started[-1]

    ollama.respond = echo
    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def mine(redis_client: redis.Redis) -> Iterator[Celery]:
    """A backend's own app on the same Redis, with its worker."""
    url = os.environ["REDIS_URL"]
    app = make_app(url, url)
    with PlainWorker(url, url, url):
        yield app
    close(app)


def asked(ollama: FakeOllama) -> list[str]:
    """The prompts that ran."""
    return [one.body["messages"][-1]["content"] for one in ollama.seen]


def is_done(client: redis.Redis) -> bool:
    """Whether nothing is left to do."""
    return not client.exists(KEYS.afterwork, KEYS.afterwork_messages)


def let_time_pass(client: redis.Redis) -> None:
    """Let AGAIN_SECONDS be over for what a dead worker took. A claim of a body still holds."""
    for task_id in client.zrange(KEYS.afterwork, 0, -1):
        client.zadd(KEYS.afterwork, {str(task_id): 1}, xx=True)


@pytest.mark.parametrize("point", [point for point in POINTS if point != "copied"])
def test_the_body_of_a_chord_runs_once_wherever_a_worker_dies(
    point: str, dying: Any, start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Another worker counts the part, or calls the body in the dead one's place."""
    worker = dying(point)
    parts = [tasks.generate.s(word) for word in "ab"]
    result = chord(parts)(tasks.generate.s(max_tokens=9).set(task_id="body"))
    wait_until(worker.has_died, f"the worker has {point}")
    if point not in ("claimed", "called"):  # there the claim has to run out
        let_time_pass(redis_client)
    start_worker(LEASE_SECONDS="3")
    assert result.get(timeout=60)["text"] == "<<a>.\n\n<b>.>."
    wait_until(lambda: is_done(redis_client), "all is done")
    assert asked(ollama).count("<a>.\n\n<b>.") == 1


@pytest.mark.parametrize("point", ["settled", "claimed", "counted"])
def test_a_body_of_another_app_runs_once(
    point: str, dying: Any, start_worker: StartWorker, mine: Celery, redis_client: redis.Redis
) -> None:
    """Its broker knows no ids, but the body is called once by whoever has the claim."""
    worker = dying(point)
    result = chord([tasks.generate.s(word) for word in "ab"])(mine.tasks["my.collect"].s())
    wait_until(worker.has_died, f"the worker has {point}")
    if point not in ("claimed", "called"):  # there the claim has to run out
        let_time_pass(redis_client)
    start_worker(LEASE_SECONDS="3")
    assert result.get(timeout=60) == ["<a>.", "<b>."]
    wait_until(lambda: is_done(redis_client), "all is done")
    assert runs(os.environ["REDIS_URL"]) == [["collect", ["<a>.", "<b>."]]]


@pytest.mark.parametrize("point", ["settled", "taken", "counted"])
def test_later_steps_and_errbacks_hear_of_a_failure_wherever_a_worker_dies(
    point: str, dying: Any, start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The last step fails as the first did, and the errback runs once."""
    worker = dying(point)
    errback = tasks.generate.s("errback").set(immutable=True)
    first = tasks.generate.s("x", model="none").set(link_error=[errback])
    last = chain(first, tasks.generate.s(), tasks.generate.s()).apply_async()
    wait_until(worker.has_died, f"the worker has {point}")
    if point not in ("claimed", "called"):  # there the claim has to run out
        let_time_pass(redis_client)
    start_worker(LEASE_SECONDS="3")
    with pytest.raises(ModelMissing):
        our_app.AsyncResult(last.id).get(timeout=60)
    wait_until(lambda: is_done(redis_client), "all is done")
    wait_until(lambda: "errback" in asked(ollama), "the errback runs")
    assert asked(ollama).count("errback") == 1


@pytest.mark.parametrize("point", ["settled", "taken", "copied"])
def test_a_result_is_copied_wherever_a_worker_dies(
    point: str, dying: Any, start_worker: StartWorker, mine: Celery, redis_client: redis.Redis
) -> None:
    """The app that sent the job by name gets it."""
    worker = dying(point)
    sent = mine.send_task("llm.generate", ["hi"], queue="llm.normal")
    wait_until(worker.has_died, f"the worker has {point}")
    if point not in ("claimed", "called"):  # there the claim has to run out
        let_time_pass(redis_client)
    start_worker(LEASE_SECONDS="3")
    assert sent.get(timeout=60)["text"] == "<hi>."
    wait_until(lambda: is_done(redis_client), "all is done")


def test_the_body_of_a_chord_runs_though_redis_was_full_when_a_part_ended(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The part's result is stored then, and it is counted later."""
    ollama.respond = lambda body: Script(
        chunks=(f"<{body['messages'][-1]['content']}>.",), first_seconds=1
    )
    start_worker(CONCURRENCY="2")
    parts = [tasks.generate.s(word).set(task_id=word) for word in "ab"]
    result = chord(parts)(tasks.generate.s(max_tokens=9))
    wait_until(lambda: len(ollama.seen) == 2, "both parts run")
    redis_client.config_set("maxmemory", "1")
    try:
        jobs = process_store().jobs
        for part in "ab":
            wait_until(lambda p=part: jobs.state(p) is JobState.SUCCEEDED, "the part has ended")
        # It was tried, and is put off.
        first = redis_client.zrange(KEYS.afterwork, 0, 0, withscores=True)
        wait_until(
            lambda: redis_client.zrange(KEYS.afterwork, 0, 0, withscores=True) != first,
            "the count is tried again",
            timeout_seconds=30,
        )
    finally:
        redis_client.config_set("maxmemory", "0")
    let_time_pass(redis_client)
    assert result.get(timeout=60)["text"] == "<<a>.\n\n<b>.>."
    assert len(ollama.seen) == 3


def test_a_member_that_kills_its_workers_fails_its_chord(
    dying: Any, redis_client: redis.Redis
) -> None:
    """Nobody holds its message when it is given up: what follows is in the dead letter."""
    result = chord([tasks.generate.s("a"), tasks.generate.s("b")])(tasks.generate.s(max_tokens=9))
    jobs = process_store().jobs
    for _ in range(5):
        jobs.take(["llm.high"], worker="w", may_take_quarantined=True, nonce=uuid4().hex)
        jobs.reap(lease_seconds=-1, max_crashes=1)
    dying("never")
    with pytest.raises(Exception, match="worker died"):
        result.get(timeout=60)


def test_an_entry_whose_result_has_expired_is_dropped(redis_client: redis.Redis) -> None:
    """So none stays for ever, whatever is wrong with it."""
    afterwork = Afterwork(process_store().scripts)
    redis_client.zadd(KEYS.afterwork, {"gone": 1})
    redis_client.hset(KEYS.afterwork_messages, "gone", "{}")
    assert afterwork.take_afterwork(10) == []
    assert is_done(redis_client)
