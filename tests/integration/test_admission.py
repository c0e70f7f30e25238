"""`.delay()` queues no bad input, refuses at a full queue, and treats a repeated id as one job."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import DeadlineExceeded, InvalidRequest
from local_llm_service.worker.store.keys import QUEUES, Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script

KEYS = Keys()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tasks.generate.delay(""), "prompt: must not be empty"),
        (lambda: tasks.generate.delay("x" * 400_001), "prompt: at most 400000 characters"),
        (lambda: tasks.generate.delay("x", max_tokens=0), "max_tokens: .*greater than or equal"),
        (lambda: tasks.generate.delay("x", max_tokens="5"), "max_tokens: .*valid integer"),
        (
            lambda: tasks.generate.delay("x", temperature=3),
            "temperature: .*less than or equal to 2",
        ),
        (lambda: tasks.generate.delay("x", priority="soon"), "priority: .*'high', 'normal'"),
        (lambda: tasks.generate.delay("x", colour="red"), "colour: Extra inputs"),
        (lambda: tasks.generate.delay(), "prompt: Field required"),
        (lambda: tasks.summarize.delay("x", deadline_seconds=0), "deadline_seconds: .*greater"),
        (lambda: tasks.compress.delay([]), "messages: must hold at least one"),
        (lambda: tasks.compress.delay([{"role": "x", "content": "y"}]), "messages.0.role"),
        (
            lambda: tasks.structured_output.delay("x", {"type": "nonsense"}),
            "schema: is not a valid JSON Schema",
        ),
        (lambda: tasks.structured_output.delay("x", {"$ref": "http://a/b"}), "schema: .*inside"),
        (
            lambda: tasks.extract_parameters.delay("x", {"name": "f"}),
            "function_schema.parameters: must be a JSON Schema of an object",
        ),
        (lambda: tasks.generate.apply_async(("x",), expires=-5), "expires: is in the past"),
    ],
)
def test_bad_input_raises_at_once_and_queues_nothing(
    redis_client: redis.Redis, call: Any, says: str
) -> None:
    """The caller gets one typed error that names the field and the limit."""
    with pytest.raises(InvalidRequest, match=says):
        call()
    assert redis_client.keys("llm*") == []


def test_a_full_queue_refuses_and_the_others_do_not(
    redis_client: redis.Redis, run_python: Any
) -> None:
    """MAX_QUEUE_LENGTH limits each queue by itself, and the error names the queue."""
    code = """
import json
from local_llm_service.tasks import generate
from local_llm_service.worker.errors import QueueFull
sent, full = 0, None
for _ in range(4):
    try:
        generate.delay("x", priority="low"); sent += 1
    except QueueFull as error:
        full = [error.code, str(error), error.retryable]
generate.delay("x")
print(json.dumps([sent, full]))
"""
    done = run_python("-c", code, MAX_QUEUE_LENGTH="3")
    sent, full = json.loads(done.stdout)
    assert (sent, full) == (3, ["queue_full", full[1], True])
    assert "llm.low holds 3 jobs (MAX_QUEUE_LENGTH=3)" in full[1]
    assert [redis_client.llen(KEYS.queue(name)) for name in QUEUES] == [1, 0, 3]


def test_a_task_id_that_exists_is_the_same_job(
    worker: WorkerProcess, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Submitting the id again returns the existing job, before and after it has run."""
    first = tasks.generate.apply_async(("hi",), task_id="order-17")
    first.get(timeout=20)
    again = tasks.generate.apply_async(("something else",), task_id="order-17")
    assert again.get(timeout=20) == first.get(timeout=20)
    assert len(ollama.seen) == 1


def test_a_job_whose_deadline_has_passed_does_not_start(
    redis_client: redis.Redis, ollama: FakeOllama, start_worker: Any
) -> None:
    """The job ends with DeadlineExceeded and never reaches the model."""
    late = tasks.generate.delay("hi", deadline_seconds=0.05)
    deadline = int(str(redis_client.hget(KEYS.job(late.id), "deadline_ms")))
    wait_until(
        lambda: redis_client.time()[0] * 1000 > deadline + 1000, "the deadline passes at Redis"
    )
    start_worker()
    with pytest.raises(DeadlineExceeded):
        late.get(timeout=20)
    assert ollama.seen == []


def test_the_deadline_ends_a_running_job(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """The engine gets only the remaining time; then the stream is closed."""
    ollama.respond = lambda _: Script(chunks=("a",) * 1000, pause_seconds=0.05)
    with pytest.raises(DeadlineExceeded):
        tasks.generate.apply_async(("hi",), expires=1.0).get(timeout=20)
    wait_until(lambda: ollama.seen[0].closed_at is not None, "the stream is closed")
