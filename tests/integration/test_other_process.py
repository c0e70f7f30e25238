"""A process that did not send a job looks at it by its id."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.producers import job, status
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

LOOK = """
import sys
from local_llm_service import generate
from local_llm_service.producers import job
task_id = sys.argv[1]
print(generate.AsyncResult(task_id).state, job(task_id).status())
print(job(task_id).result(20).text, generate.AsyncResult(task_id).get(timeout=20)["text"])
print(generate.AsyncResult(task_id).state)
"""


def test_a_second_process_looks_and_waits(
    start_worker: StartWorker, ollama: FakeOllama, run_python: Callable[..., Any]
) -> None:
    """With the typed handle and with Celery's."""
    start_worker()
    task_id = tasks.generate.delay("hi").id
    done = run_python("-c", LOOK, task_id)
    assert done.stdout.splitlines()[1:] == ["Hello. Hello.", "SUCCESS"], done.stderr


def test_a_typed_handle_has_the_answer_of_its_kind(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Though nobody names the kind."""
    start_worker()
    task_id = tasks.summarize.delay(context="A long text. " * 40).id
    assert job(task_id).result(20).summary == "Hello."


def test_a_job_says_that_it_runs(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """PENDING in its queue, STARTED in a worker, then its end; nothing is written for that."""
    ollama.respond = lambda _: Script(first_seconds=3)
    result = tasks.generate.delay("hi")
    assert (result.state, result.ready()) == ("PENDING", False)
    start_worker()
    wait_until(lambda: result.state == "STARTED", "it says STARTED")
    assert tasks.generate.AsyncResult(result.id).status == "STARTED"
    assert not result.ready()
    assert redis_client.exists(f"{{llm}}:celery-task-meta-{result.id}") == 0
    url = os.environ["REDIS_URL"]
    other = Celery("other", broker=url, backend=url, set_as_current=False)
    assert other.AsyncResult(result.id).state == "PENDING"
    other.backend.client.connection_pool.disconnect()
    assert result.get(timeout=20)["text"] == "Hello."
    assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)


def test_an_id_that_nobody_knows(redis_client: redis.Redis) -> None:
    """Its handle can be made, and says so."""
    assert job("nobody").status() is status("nobody") is JobState.UNKNOWN
    assert tasks.generate.AsyncResult("nobody").state == "PENDING"
