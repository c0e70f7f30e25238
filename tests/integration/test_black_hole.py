"""A worker beside an Ollama that cannot do its part harms no job that another worker can run.

Such an Ollama answers in a millisecond, so its worker would take nearly every job and fail it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers import health
from local_llm_service.worker import errors
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()
JOBS = 60
BROKEN = Script(status=500, error='tensor "blk.3" exceeds file size')
#: Slots of each worker, and the jobs that one with a broken engine may touch: three in a row open
#: its breaker, while all slots are at work; then one probe a second at first.
SLOTS, MOST_TOUCHED = 2, 8


@pytest.fixture
def bad() -> Iterator[FakeOllama]:
    """The Ollama beside the second worker."""
    with FakeOllama() as server:
        yield server


def ask(count: int = JOBS, **options: Any) -> list[AsyncResult]:
    """Different questions, none of which may share an answer."""
    return [tasks.generate.delay(f"question {n}", **options) for n in range(count)]


def all_succeed(results: list[AsyncResult]) -> bool:
    """Whether each job has its answer; raises the error of one that failed."""
    return all(result.get(timeout=30)["text"] == "Hello." for result in results)


def slowly(_: dict[str, Any]) -> Script:
    """An answer that takes longer than an error."""
    return Script(first_seconds=0.02)


def test_a_worker_without_the_model_takes_no_job(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama
) -> None:
    """The default model is missing beside the second worker: no job reaches its Ollama."""
    ollama.respond, bad.models = slowly, ("another:1b",)
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY=str(SLOTS), MODEL_WAIT_SECONDS="60")
    results = ask(JOBS // 2)
    start_worker(CONCURRENCY=str(SLOTS), MODEL_WAIT_SECONDS="60")
    assert all_succeed(results + ask(JOBS // 2, cache=False))
    assert bad.seen == []


@pytest.mark.parametrize(
    "fault",
    [
        BROKEN,
        Script(end="cut", chunks=()),
        Script(status=503, error="server busy"),
        Script(status=404, error="model 'fake:1b' not found"),
    ],
    ids=["500", "cut", "busy", "missing though it is listed"],
)
def test_what_an_engine_fails_another_one_answers(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama, fault: Script
) -> None:
    """No job fails, and the breaker keeps the worker with the broken engine from taking more."""
    ollama.respond, bad.respond = slowly, lambda _: fault
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY=str(SLOTS))
    start_worker(CONCURRENCY=str(SLOTS))
    results = ask()
    assert all_succeed(results)
    assert 0 < len(bad.seen) <= MOST_TOUCHED


def test_a_job_with_which_a_broken_engine_dies_is_answered_elsewhere(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama, redis_client: redis.Redis
) -> None:
    """Each of its connections breaks, so it is not the job's fault: one death alone, and it leaves.

    Before, the job went back to the same worker, which gave it up after the third death.
    """
    ollama.respond = lambda _: Script(first_seconds=4)
    bad.respond = lambda _: Script(end="cut")
    start_worker(CONCURRENCY="1")
    tasks.generate.delay("keeps the good worker busy")
    wait_until(lambda: ollama.seen, "it is busy")
    ollama.respond = lambda _: Script()
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY="1")
    result = tasks.generate.delay("a job for which only the bad worker has time")
    assert result.get(timeout=30)["text"] == "Hello."
    assert (len(bad.seen), len(ollama.seen)) == (2, 2)
    assert redis_client.hget(KEYS.job(result.id), "engine_deaths") == "2"


def test_a_model_that_one_of_two_workers_has(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama
) -> None:
    """Jobs for it go there, and jobs for the model of both go to both."""
    ollama.models = ("fake:1b", "big:7b")
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY=str(SLOTS))
    start_worker(CONCURRENCY=str(SLOTS))
    assert all_succeed(ask(20, model="big:7b") + ask(20))
    assert {one.body["model"] for one in bad.seen} <= {"fake:1b"}
    assert len([one for one in ollama.seen if one.body["model"] == "big:7b"]) == 20


def test_a_model_of_one_worker_for_jobs_sent_by_name(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama, redis_client: redis.Redis
) -> None:
    """Of a message sent by name nobody knows the model before a worker has looked into it."""
    ollama.models = ("fake:1b", "big:7b")
    both = {"MODEL_WAIT_SECONDS": "60"}
    start_worker(OLLAMA_HOST=bad.host, **both)
    other = Celery("other", broker=os.environ["REDIS_URL"])
    arguments = [{"prompt": str(n), "model": "big:7b"} for n in range(10)]
    sent = [other.send_task("llm.generate", kwargs=one, queue="llm.low") for one in arguments]
    start_worker(**both)
    assert all_succeed([tasks.generate.AsyncResult(one.id) for one in sent])
    assert {one.body["model"] for one in ollama.seen} == {"big:7b"}


def test_an_engine_that_fails_nearly_all_models_takes_one_probe_at_a_time(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama
) -> None:
    """However many models it has: not one probe for each."""
    names = tuple(f"m{n}:1b" for n in range(12))
    ollama.models = bad.models = ("fake:1b", *names)
    ollama.respond, bad.respond = slowly, lambda _: BROKEN
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY=str(SLOTS))
    start_worker(CONCURRENCY=str(SLOTS))
    results = [one for name in names for one in ask(5, model=name, cache=False)]
    assert all_succeed(results)
    assert 0 < len(bad.seen) <= MOST_TOUCHED


def test_a_job_fails_when_no_live_worker_can_run_it_and_says_who_tried(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama
) -> None:
    """Each worker fails it once. A dead worker is not waited for."""
    ollama.respond = bad.respond = lambda _: BROKEN
    workers = [start_worker(OLLAMA_HOST=bad.host), start_worker()]
    wait_until(lambda: len(health()["workers"]) == 2, "both are there")
    with pytest.raises(errors.ModelFailed) as caught:
        ask(1)[0].get(timeout=20)
    assert len(ollama.seen) + len(bad.seen) == 2
    for worker in workers:
        assert worker.worker_name in caught.value.message


def test_followers_know_who_failed_their_leader(
    start_worker: StartWorker, ollama: FakeOllama, bad: FakeOllama
) -> None:
    """Equal jobs are the same work: an engine that has failed it once is not asked again."""
    ollama.respond = lambda _: Script(first_seconds=4)
    bad.respond = lambda _: Script(status=500, error="broken", first_seconds=1)
    start_worker(CONCURRENCY="1")
    tasks.generate.delay("keeps the good worker busy")
    wait_until(lambda: ollama.seen, "it is busy")
    ollama.respond = lambda _: Script()
    start_worker(OLLAMA_HOST=bad.host, CONCURRENCY="4")
    results = [tasks.generate.delay("the same") for _ in range(4)]
    wait_until(lambda: [one.state for one in records(results)].count("joined") == 3, "3 follow")
    assert all_succeed(results)
    assert (len(bad.seen), len(ollama.seen)) == (1, 2)


def records(results: list[AsyncResult]) -> list[Any]:
    """What Redis knows of these jobs."""
    from local_llm_service.worker.store.store import process_store

    return [process_store().jobs.record(result.id) for result in results]


def test_a_broken_engine_that_recovers_goes_on(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Alone, its worker fails what it tries; all else waits for a probe that succeeds."""
    ollama.respond = lambda _: BROKEN
    worker = start_worker(MODEL_WAIT_SECONDS="60")
    results = ask(20)
    wait_until(lambda: health()["workers"][0]["failing"] == ["fake:1b"], "the breaker is open")
    seen = health()
    assert seen["status"] == "down"
    assert "fails jobs with model 'fake:1b'" in seen["reasons"][0]
    ollama.respond = lambda _: Script()
    ended = [outcome(one) for one in results]
    assert ended.count("Hello.") >= len(results) - 2 - 3
    assert set(ended) <= {"Hello.", f"tried by {worker.worker_name}"}
    wait_until(lambda: health()["status"] == "healthy", "it is healthy again")
    assert health()["reasons"] == []


def outcome(result: AsyncResult) -> str:
    """The text of an answer, or who failed the job."""
    try:
        return str(result.get(timeout=30)["text"])
    except errors.ModelFailed as error:
        return error.message.partition("(")[2].rstrip(")")


def test_jobs_that_nobody_can_run_any_more_fail_after_their_wait(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """They do not wait for a day behind an engine that fails everything."""
    ollama.respond = lambda _: BROKEN
    start_worker(MODEL_WAIT_SECONDS="0.5")
    for result in ask(20):
        with pytest.raises(errors.ModelFailed):
            result.get(timeout=30)
    assert len(ollama.seen) < 10


def test_a_bad_request_opens_no_breaker(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """A job whose own fault it is (a prompt that is too long) says nothing about the engine."""
    ollama.respond = only_failing("too long", Script(status=400, error=TOO_LONG))
    start_worker()
    for n in range(5):
        with pytest.raises(errors.ContextOverflow):
            tasks.generate.delay(f"too long {n}").get(timeout=20)
    assert all_succeed(ask(5))
    assert health()["workers"][0]["failing"] == []


TOO_LONG = '{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}'


def only_failing(words: str, script: Script) -> Callable[[dict[str, Any]], Script]:
    """An engine that fails prompts with these words."""
    return lambda body: script if words in body["messages"][-1]["content"] else Script()
