"""Permanently failed jobs become dead letters, which can be read, replayed and dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import models, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker
from tests.integration.test_command_line import Here
from tests.integration.test_command_line import here as here

KEYS = Keys()


@pytest.fixture
def dead(here: Here) -> Callable[..., Any]:
    """The output of `local-llm dead ... --json`."""

    def run(*words: str) -> Any:
        done = here("dead", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_permanently_failed_job_can_be_read_and_replayed(
    start_worker: StartWorker, ollama: FakeOllama, dead: Callable[..., Any]
) -> None:
    """After list, show and replay the task id is the same, the failure gone, the answer there."""
    start_worker()
    result = tasks.generate.delay("hi", model="nope")
    with pytest.raises(errors.ModelMissing):
        result.get(timeout=20)
    (letter,) = dead("list")
    assert (letter["task_id"], letter["error"]) == (result.id, "model_missing")
    assert letter["starts"] == 0  # no worker takes a job whose model it lacks
    shown = dead("show", result.id, "--request")
    assert shown["request"]["kwargs"] == {"prompt": "hi", "model": "nope"}
    assert "request" not in dead("show", result.id)
    ollama.models = ("fake:1b", "nope")
    wait_until(lambda: "nope" in [one["name"] for one in models()], "the worker sees the model")
    assert dead("replay", result.id) == {"replayed": [result.id]}
    fresh = app.AsyncResult(result.id)
    wait_until(lambda: status(result.id) is JobState.SUCCEEDED, "the job is answered")
    assert fresh.get(timeout=20)["text"] == "Hello."
    assert dead("list") == []


def test_a_dead_letter_can_be_dropped(
    start_worker: StartWorker, dead: Callable[..., Any], here: Here
) -> None:
    """The dead letter is gone; the job's failure can still be read."""
    start_worker()
    result = tasks.generate.delay("hi", model="nope")
    with pytest.raises(errors.ModelMissing):
        result.get(timeout=20)
    assert dead("drop", result.id) == {"dropped": result.id}
    assert dead("list") == []
    assert here("dead", "show", result.id).returncode == 5
    assert here("result", result.id).returncode == 1


def test_a_cancelled_job_is_not_a_dead_letter(redis_client: redis.Redis) -> None:
    """Nobody needs to investigate a cancel."""
    from local_llm_service.producers import cancel

    cancel(tasks.generate.delay("x").id)
    assert redis_client.zcard(KEYS.dead_letters) == 0
