"""A job for a model that no live worker serves waits aside, and ends as `model_missing`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from celery import chain, chord
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers import cancel, explain, health, queues, status
from local_llm_service.worker import errors
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()


def parked(result: AsyncResult) -> None:
    """Wait until a worker has looked at the job and left it aside."""
    wait_until(lambda: status(result.id) is JobState.PARKED, "the job is parked")


def waiting() -> int:
    """What `queues` says of all queues."""
    return sum(one["waiting"] for one in queues())


def ends_with(result: AsyncResult, error: type[Exception]) -> Any:
    """The error with which a job ends."""
    with pytest.raises(error) as caught:
        result.get(timeout=20)
    return caught.value


def nothing_parked(client: redis.Redis) -> bool:
    """Whether no key of a parked job is left."""
    return not list(client.scan_iter(match=f"{KEYS.parked}*")) + list(
        client.scan_iter(match=f"{KEYS.parked_for}*")
    ) and not client.exists(KEYS.parked_messages)


def test_it_waits_and_holds_up_no_job_behind_it(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """`status` says what it waits for; it counts as waiting; others run meanwhile."""
    start_worker(MODEL_WAIT_SECONDS="3600")
    waits = [tasks.generate.delay(f"{n}", model="big:7b") for n in range(3)]
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    for result in waits:
        parked(result)
    assert waiting() == 3
    assert explain(waits[0].id) == (
        "waits for a worker with model 'big:7b': none of the 1 workers has it"
    )
    shown = run_python("-m", "local_llm_service.producers", "status", waits[0].id)
    assert shown.stdout.strip() == f"parked: {explain(waits[0].id)}"
    shown = run_python("-m", "local_llm_service.producers", "status", waits[0].id, "--json")
    assert json.loads(shown.stdout)["reason"] == explain(waits[0].id)


def test_it_counts_in_the_length_of_its_queue(start_worker: StartWorker) -> None:
    """Otherwise a caller with a made-up name would fill Redis."""
    start_worker(MODEL_WAIT_SECONDS="3600")
    waits = [tasks.generate.delay(f"{n}", model="big:7b") for n in range(3)]
    for result in waits:
        parked(result)
    done = run_python(
        "-c",
        "from local_llm_service import tasks; tasks.generate.delay('one more')",
        MAX_QUEUE_LENGTH="3",
    )
    assert "QueueFull: llm.high holds 3 jobs (MAX_QUEUE_LENGTH=3)" in done.stderr


def test_it_fails_when_its_wait_is_over(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """As `model_missing`, with what to pull and what is there; its message is a dead letter."""
    start_worker(MODEL_WAIT_SECONDS="0.3")
    result = tasks.generate.delay("hi", model="big:7b")
    error = ends_with(result, errors.ModelMissing)
    assert error.message == "no live worker has model 'big:7b'"
    assert error.hint.startswith("Run `ollama pull big:7b` on a worker's host, or use one")
    assert "fake:1b" in error.hint
    assert redis_client.hexists(KEYS.dead_letter_messages, result.id)
    assert nothing_parked(redis_client)


def test_it_fails_at_its_deadline(start_worker: StartWorker) -> None:
    """The deadline comes before the end of the wait; the reason stays the same."""
    start_worker(MODEL_WAIT_SECONDS="3600")
    result = tasks.generate.delay("hi", model="big:7b", deadline_seconds=0.5)
    ends_with(result, errors.ModelMissing)


def test_the_default_model_is_missing(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """Jobs that name no model wait in the same way, and `health` says what to do."""
    ollama.models = ("another:1b",)
    start_worker(MODEL_WAIT_SECONDS="0.5")
    wait_until(lambda: health()["workers"], "the worker is there")
    seen = health()
    assert seen["status"] == "down"
    assert "run `ollama pull fake:1b`" in seen["reasons"][0]
    assert "ollama pull fake:1b" in run_python("-m", "producers", "health").stdout
    assert tasks.generate.delay("hi", model="another:1b").get(timeout=20)["text"] == "Hello."
    error = ends_with(tasks.generate.delay("hi"), errors.ModelMissing)
    assert "ollama pull fake:1b" in error.hint


@pytest.mark.parametrize("how", ["pull", "start"])
def test_it_runs_when_a_worker_comes_up_with_the_model(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis, how: str
) -> None:
    """Pulled beside a worker, or with a new worker; the oldest job first."""
    # One slot: two send their jobs at the same time, and either may be the first to arrive.
    one_slot = {"CONCURRENCY": "1", "MODEL_WAIT_SECONDS": "3600"}
    waits = [tasks.generate.delay(f"{n}", model="big:7b") for n in range(5)]
    for result in waits:  # as where a program sends many
        redis_client.hset(KEYS.job(result.id), "submitted_ms", "1732460000000")
    start_worker(**one_slot)
    for result in waits:
        parked(result)
    if how == "pull":
        ollama.models = ("fake:1b", "big:7b")
        answers = ollama
    else:
        answers = FakeOllama(models=("big:7b",))
        answers.start()
        start_worker(OLLAMA_HOST=answers.host, MODEL_NAME="big:7b", **one_slot)
    for result in waits:
        assert result.get(timeout=20)["text"] == "Hello."
    asked = [one.body["messages"][-1]["content"] for one in answers.seen]
    assert asked == [str(n) for n in range(5)]
    assert nothing_parked(redis_client)
    if how == "start":
        answers.stop()


def test_it_can_be_cancelled(start_worker: StartWorker, redis_client: redis.Redis) -> None:
    """At once, although no worker takes it; nothing of it stays."""
    start_worker(MODEL_WAIT_SECONDS="3600")
    result = tasks.generate.delay("hi", model="big:7b")
    parked(result)
    assert cancel(result.id) is JobState.CANCELLED
    ends_with(result, errors.Cancelled)
    assert nothing_parked(redis_client)
    assert waiting() == 0


def test_a_step_of_a_chain_or_chord_ends_too(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """A worker fails it with the message in hand, so that what comes after it fails as well."""
    start_worker(MODEL_WAIT_SECONDS="0.3")
    steps = chain(tasks.generate.s("hi", model="big:7b"), tasks.summarize.s()).apply_async()
    with pytest.raises(errors.ModelMissing):
        steps.parent.get(timeout=20)
    parts = [tasks.generate.s("one"), tasks.generate.s("two", model="big:7b")]
    whole = chord(parts, tasks.summarize.s()).apply_async()
    with pytest.raises(Exception, match="no live worker has model"):
        whole.get(timeout=20)
    assert nothing_parked(redis_client)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_step_of_a_chain_that_is_cancelled_or_late_ends_too(
    start_worker: StartWorker, redis_client: redis.Redis, how: str
) -> None:
    """Although no worker serves its model."""
    start_worker(MODEL_WAIT_SECONDS="3600")
    late = {"deadline_seconds": 0.7} if how == "deadline" else {}
    step = tasks.generate.s("hi", model="big:7b", **late)
    steps = chain(step, tasks.summarize.s()).apply_async()
    if how == "cancel":
        parked(steps.parent)
        cancel(steps.parent.id)
    error = errors.Cancelled if how == "cancel" else errors.ModelMissing
    ends_with(steps.parent, error)
    assert nothing_parked(redis_client)


@pytest.mark.parametrize("how", ["drain", "death"])
def test_what_a_worker_leaves_behind_waits_for_another_with_the_model(
    start_worker: StartWorker, ollama: FakeOllama, how: str
) -> None:
    """A job that goes back, or whose worker died, is not failed by a worker without its model."""
    ollama.models = ("fake:1b", "big:7b")
    ollama.respond = lambda _: Script(first_seconds=60)
    both = {"LEASE_SECONDS": "3", "MODEL_WAIT_SECONDS": "3600"}
    first = start_worker(DRAIN_SECONDS="0", **both)
    result = tasks.generate.delay("hi", model="big:7b")
    wait_until(lambda: ollama.seen, "the job runs")
    with FakeOllama() as other:
        start_worker(OLLAMA_HOST=other.host, **both)
        first.stop() if how == "drain" else first.kill()
        parked(result)
        ollama.respond = lambda _: Script()
        start_worker(**both)
        assert result.get(timeout=20)["text"] == "Hello."
        assert other.seen == []


def test_made_up_names_hold_up_nobody(start_worker: StartWorker, redis_client: redis.Redis) -> None:
    """Each parked job costs one look; a worker takes what it can run behind 2,000 of them."""
    for n in range(2000):
        tasks.generate.delay("x", model=f"made-up-{n}", cache=False)
    last = tasks.generate.delay("hi")
    start_worker(MODEL_WAIT_SECONDS="3600")
    assert last.get(timeout=20)["text"] == "Hello."
    assert waiting() == 2000
    bells = list(redis_client.scan_iter(match=f"{KEYS.doorbell_for}*"))
    assert len(bells) <= 2, "no bell for a name that a caller made up"
