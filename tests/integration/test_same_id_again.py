"""A task id is used again after its result is gone: the job runs, and nobody waits in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import QueueFull
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()


def again(**options: Any) -> Any:
    """The same id once more; the cache would answer without the job."""
    return tasks.generate.apply_async(("hi",), {"cache": False}, task_id="mine", **options)


GONE: dict[str, Callable[[redis.Redis], object]] = {
    "forgotten": lambda _: app.AsyncResult("mine").forget(),
    "expired": lambda client: client.delete(KEYS.result("mine")),
}


@pytest.mark.parametrize("how", sorted(GONE))
def test_a_failed_id_runs_again_once_its_result_is_gone(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis, how: str
) -> None:
    """Its record outlives the result by the dead letter, which the new call replaces."""
    start_worker()
    good, ollama.respond = ollama.respond, lambda _: Script(chunks=("a",) * 40, pause_seconds=1)
    first = again(expires=1)
    with pytest.raises(errors.DeadlineExceeded):
        first.get(timeout=30)
    assert process_store().dead_letters.get("mine") is not None
    assert again().id == "mine"
    with pytest.raises(errors.DeadlineExceeded):
        again().get(timeout=30)  # while there is a result, the id names it
    GONE[how](redis_client)
    ollama.respond = good
    assert again().get(timeout=30)["text"] == "Hello."
    assert process_store().dead_letters.get("mine") is None
    assert status("mine") is JobState.SUCCEEDED


def test_a_refused_call_keeps_the_dead_letter(redis_client: redis.Redis) -> None:
    """The queue is full: nothing was queued, and nothing is lost."""
    again()
    app.backend.fail("mine", errors.ModelFailed("x"))
    redis_client.hset(KEYS.dead_letter_messages, "mine", "{}")
    redis_client.zadd(KEYS.dead_letters, {"mine": 1})
    app.AsyncResult("mine").forget()
    full = run_python(
        "-c",
        "from local_llm_service import tasks\n"
        "tasks.generate.delay('other')\n"
        "tasks.generate.apply_async(('hi',), task_id='mine')",
        MAX_QUEUE_LENGTH="1",
    )
    assert QueueFull.__name__ in full.stderr
    assert redis_client.hexists(KEYS.dead_letter_messages, "mine")
    assert redis_client.exists(KEYS.job("mine"))


def test_an_id_that_was_forgotten_while_others_wait_for_its_work_is_answered(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Its caller cancels, forgets, and asks again: the work went on for another caller."""
    ollama.respond = lambda _: Script(chunks=("a",) * 30, pause_seconds=0.1)
    start_worker(CONCURRENCY="2")
    wait_until(lambda: redis_client.exists(KEYS.consensus), "the worker says what it serves")
    mine = tasks.generate.apply_async(("same",), task_id="mine")
    wait_until(lambda: ollama.seen, "it runs")
    other = tasks.generate.delay("same")
    wait_until(lambda: redis_client.zcard(KEYS.deadlines) == 2, "both wait")
    assert cancel("mine") is JobState.CANCELLED
    mine.forget()
    back = tasks.generate.apply_async(("same",), task_id="mine")
    assert back.get(timeout=30)["text"] == other.get(timeout=30)["text"]
    assert len(ollama.seen) == 1


def test_a_message_by_name_runs_under_an_id_whose_result_is_gone(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Another application's id, too, is not taken by a job that nobody can read any more."""
    again()
    app.backend.fail("mine", errors.ModelFailed("x"))
    app.AsyncResult("mine").forget()
    sent = run_python(
        "-c",
        "import celery, os\n"
        "other = celery.Celery(broker=os.environ['REDIS_URL'])\n"
        "other.send_task('llm.generate', ('hi',), queue='llm.normal', task_id='mine')",
    )
    assert sent.returncode == 0, sent.stderr
    redis_client.delete(KEYS.queue("llm.high"), KEYS.queue("llm.normal"), KEYS.queue("llm.low"))
    start_worker()
    assert app.AsyncResult("mine").get(timeout=30)["text"] == "Hello."
